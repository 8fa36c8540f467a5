//! The allocator of the whole library. libc's: thread-safe, known to valgrind and sanitizers, and
//! it never relies on thread-local storage of a library that was loaded late.

const std = @import("std");

pub const gpa = std.heap.c_allocator;
