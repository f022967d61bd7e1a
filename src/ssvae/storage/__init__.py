"""What lies on disks: files written whole or not at all, runs, and the settings that work goes on
under.
"""
