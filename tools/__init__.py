"""What noxfile.py is made of: wheels, environments and the checks on both."""
