//! Names of the methods that the loop calls on itself and on its streams, and tuples of keywords.
//! Both are made once.

const api = @import("../cpython/api.zig");
const Object = api.Object;
const py = &api.py;

pub var check_call: *Object = undefined;
pub var callback_failed: *Object = undefined;
pub var callback_ran: *Object = undefined;
pub var time: *Object = undefined;
pub var fatal: *Object = undefined;
pub var flow_failed: *Object = undefined;
pub var emptied: *Object = undefined;
pub var write_lost: *Object = undefined;
pub var send_by_socket: *Object = undefined;
pub var done: *Object = undefined;
pub var set_result: *Object = undefined;
/// Tuples of keywords.
pub var loop: *Object = undefined;
pub var loop_and_name: *Object = undefined;

pub fn make() bool {
    check_call = py.PyUnicode_InternFromString("_check_call") orelse return false;
    callback_failed = py.PyUnicode_InternFromString("_callback_failed") orelse return false;
    callback_ran = py.PyUnicode_InternFromString("_callback_ran") orelse return false;
    time = py.PyUnicode_InternFromString("time") orelse return false;
    fatal = py.PyUnicode_InternFromString("_fatal") orelse return false;
    flow_failed = py.PyUnicode_InternFromString("_flow_failed") orelse return false;
    emptied = py.PyUnicode_InternFromString("_emptied") orelse return false;
    write_lost = py.PyUnicode_InternFromString("_write_lost") orelse return false;
    send_by_socket = py.PyUnicode_InternFromString("_send_by_socket") orelse return false;
    done = py.PyUnicode_InternFromString("done") orelse return false;
    set_result = py.PyUnicode_InternFromString("set_result") orelse return false;
    loop = keywordTuple(&.{"loop"}) orelse return false;
    loop_and_name = keywordTuple(&.{ "loop", "name" }) orelse return false;
    return true;
}
fn keywordTuple(comptime words: []const [:0]const u8) ?*Object {
    const tuple = py.PyTuple_New(words.len) orelse return null;
    inline for (words, 0..) |word, i| {
        _ = py.PyTuple_SetItem(tuple, i, py.PyUnicode_InternFromString(word.ptr) orelse return null);
    }
    return tuple;
}

/// `instance.name(*arguments)`; borrows all.
pub fn callMethod(instance: *Object, name: *const *Object, arguments: []const *Object) ?*Object {
    var room: [5]?*Object = undefined;
    room[1] = instance;
    for (arguments, 2..) |argument, i| room[i] = argument;
    return py.PyObject_VectorcallMethod(name.*, room[1..].ptr, (arguments.len + 1) | api.arguments_offset, null);
}
