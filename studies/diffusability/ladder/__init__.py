"""The ladder: does the gain of LCR hold, grow or melt as compression goes to the paper's?"""
