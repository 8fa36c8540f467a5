"""The boundary to the native library. The only place that imports ctypes."""
