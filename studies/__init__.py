"""Studies on the library's public API: each asks one question, and keeps what it found beside
it.
"""
