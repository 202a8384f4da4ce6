"""lrgd-mini: the small model that ships, made from nothing but the sample shop and the prompts."""
