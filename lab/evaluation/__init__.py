"""Methods compared on the same questions: which of 50 candidates did the user choose next?"""
