"""The verb `call`: calls a Python function."""
