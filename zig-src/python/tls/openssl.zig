//! OpenSSL's own functions, of the very library that Python's `_ssl` uses: found through `_ssl`'s handle,
//! so that no other copy in the process can be taken. And the `SSL*` of a connection that `_ssl` makes,
//! caught by OpenSSL's public callback for new objects, without any layout of CPython's.

const std = @import("std");
const api = @import("../cpython/api.zig");
const Object = api.Object;

pub const Ssl = opaque {};
pub const Bio = opaque {};
const Method = opaque {};

pub const want_read = 2;
pub const zero_return = 6;
pub const mode_release_buffers = 0x10;
pub const ctrl_mode = 33;
pub const ctrl_clear_mode = 78;
/// SSL_R_UNEXPECTED_EOF_WHILE_READING of the library ERR_LIB_SSL.
pub const lib_ssl = 20;
pub const unexpected_eof = 294;

const New = *const fn (?*anyopaque, ?*anyopaque, ?*anyopaque, c_int, c_long, ?*anyopaque) callconv(.c) void;

const Functions = struct {
    OpenSSL_version_num: *const fn () callconv(.c) c_ulong,
    OpenSSL_version: *const fn (c_int) callconv(.c) [*:0]const u8,
    CRYPTO_get_ex_new_index: *const fn (c_int, c_long, ?*anyopaque, ?New, ?*anyopaque, ?*anyopaque) callconv(.c) c_int,
    BIO_get_new_index: *const fn () callconv(.c) c_int,
    BIO_meth_new: *const fn (c_int, [*:0]const u8) callconv(.c) ?*Method,
    BIO_meth_set_read: *const fn (*Method, *const fn (*Bio, [*]u8, c_int) callconv(.c) c_int) callconv(.c) c_int,
    BIO_meth_set_write: *const fn (*Method, *const fn (*Bio, [*]const u8, c_int) callconv(.c) c_int) callconv(.c) c_int,
    BIO_meth_set_ctrl: *const fn (
        *Method,
        *const fn (*Bio, c_int, c_long, ?*anyopaque) callconv(.c) c_long,
    ) callconv(.c) c_int,
    BIO_new: *const fn (*Method) callconv(.c) ?*Bio,
    BIO_set_init: *const fn (*Bio, c_int) callconv(.c) void,
    BIO_set_data: *const fn (*Bio, ?*anyopaque) callconv(.c) void,
    BIO_get_data: *const fn (*Bio) callconv(.c) ?*anyopaque,
    BIO_set_flags: *const fn (*Bio, c_int) callconv(.c) void,
    BIO_clear_flags: *const fn (*Bio, c_int) callconv(.c) void,
    SSL_set_bio: *const fn (*Ssl, *Bio, *Bio) callconv(.c) void,
    SSL_get_SSL_CTX: *const fn (*Ssl) callconv(.c) ?*anyopaque,
    SSL_is_server: *const fn (*const Ssl) callconv(.c) c_int,
    SSL_do_handshake: *const fn (*Ssl) callconv(.c) c_int,
    SSL_read: *const fn (*Ssl, [*]u8, c_int) callconv(.c) c_int,
    SSL_write: *const fn (*Ssl, [*]const u8, c_int) callconv(.c) c_int,
    SSL_pending: *const fn (*const Ssl) callconv(.c) c_int,
    SSL_shutdown: *const fn (*Ssl) callconv(.c) c_int,
    SSL_get_error: *const fn (*const Ssl, c_int) callconv(.c) c_int,
    SSL_ctrl: *const fn (*Ssl, c_int, c_long, ?*anyopaque) callconv(.c) c_long,
    ERR_peek_error: *const fn () callconv(.c) c_ulong,
    ERR_peek_last_error: *const fn () callconv(.c) c_ulong,
    ERR_clear_error: *const fn () callconv(.c) void,
    ERR_reason_error_string: *const fn (c_ulong) callconv(.c) ?[*:0]const u8,
};

/// Filled by `open`.
pub var fns: Functions = undefined;

extern "c" fn dlopen(path: [*:0]const u8, flags: c_int) ?*anyopaque;
extern "c" fn dlsym(handle: ?*anyopaque, name: [*:0]const u8) ?*anyopaque;

const rtld_now = 2;
const rtld_noload = 4;

var method: *Method = undefined;
/// Set once `open` has succeeded; it changes no more.
var is_open: std.atomic.Value(bool) = .init(false);

/// The last SSL object that was made on this thread, and how many since `watch`.
threadlocal var newest: ?*Ssl = null;
threadlocal var made: u32 = 0;

/// Why it is not available, or null. Once, under the lock of the import; `path` is `_ssl`'s file.
pub fn open(path: [*:0]const u8, read: anytype, write: anytype, control: anytype) ?[]const u8 {
    if (is_open.load(.acquire)) return null;
    // The handle is never given back: the library stays, because it knows our callback.
    const handle = dlopen(path, rtld_now | rtld_noload) orelse return "_ssl is no library that is loaded";
    inline for (@typeInfo(Functions).@"struct".field_names) |name| {
        const address = dlsym(handle, name) orelse return "_ssl's library has no " ++ name;
        @field(fns, name) = @ptrCast(@alignCast(address));
    }
    if (fns.OpenSSL_version_num() < 0x10101000) return "OpenSSL is older than 1.1.1";
    if (!std.mem.startsWith(u8, std.mem.span(fns.OpenSSL_version(0)), "OpenSSL "))
        return "_ssl's library is not OpenSSL";
    // Type BIO_TYPE_SOURCE_SINK.
    method = fns.BIO_meth_new(fns.BIO_get_new_index() | 0x400, "spargio") orelse return "OpenSSL has no memory";
    if (fns.BIO_meth_set_read(method, read) != 1 or fns.BIO_meth_set_write(method, write) != 1 or
        fns.BIO_meth_set_ctrl(method, control) != 1) return "OpenSSL takes no method";
    // 0 is CRYPTO_EX_INDEX_SSL.
    if (fns.CRYPTO_get_ex_new_index(0, 0, null, &onNew, null, null) < 0) return "OpenSSL takes no callback";
    is_open.store(true, .release);
    return null;
}

/// Of each SSL object, on the thread that makes it, without the interpreter's lock.
fn onNew(parent: ?*anyopaque, _: ?*anyopaque, _: ?*anyopaque, _: c_int, _: c_long, _: ?*anyopaque) callconv(.c) void {
    newest = @ptrCast(parent);
    made += 1;
}

/// The next one that is made on this thread is wanted.
pub fn watch() void {
    newest = null;
    made = 0;
}

/// It; null if there was none, or more than one (a finalizer came in between).
pub fn caught() ?*Ssl {
    defer newest = null;
    return if (made == 1) newest else null;
}

pub fn newBio(data: *anyopaque) ?*Bio {
    const bio = fns.BIO_new(method) orelse return null;
    fns.BIO_set_data(bio, data);
    fns.BIO_set_init(bio, 1);
    return bio;
}

pub const retry_read = 0x01 | 0x08;

/// Errors of other users of this thread would be taken for this connection's.
pub inline fn forgetErrors() void {
    if (fns.ERR_peek_error() != 0) fns.ERR_clear_error();
}
