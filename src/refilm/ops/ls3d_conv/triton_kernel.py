"""placeholder"""

available = False
reason = "not written"
