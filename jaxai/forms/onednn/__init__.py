"""Convolutions and matrix products of oneDNN on CPUs, where the extra `onednn` is installed.

The library is Intel's, by the wheel `onednn`; `calls.cc`, which makes custom calls of XLA out of it, is compiled when
it is first needed, by the system's C++ compiler, and kept in the user's cache folder.
"""
