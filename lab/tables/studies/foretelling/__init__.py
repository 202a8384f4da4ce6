"""Does what a text is worth on validation foretell the test?"""
