"""What the interop tests share: real neighbours as processes, and small clients of them."""
