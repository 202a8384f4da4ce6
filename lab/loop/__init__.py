"""What the learning loop is worth: fresh users of the generated shop, arm against arm."""
