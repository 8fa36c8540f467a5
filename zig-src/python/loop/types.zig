//! The types of the asyncio loop, made when spargio.asyncio is imported: `import spargio` does not
//! need asyncio.

const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const handle = @import("handle.zig");
const reader = @import("reader.zig");
const timer_handle = @import("timer_handle.zig");
const waiter = @import("waiter.zig");
const Waiter = waiter.Waiter;
const Datagram = @import("datagram.zig").Datagram;
const Stream = @import("stream.zig").Stream;
const Loop = @import("loop.zig").Loop;
const Object = api.Object;
const py = &api.py;

var made = false;

/// loop_types(helpers: dict) -> dict of types
pub fn make(_: ?*Object, dict: *Object) callconv(.c) ?*Object {
    if (made) return api.raise(py.PyExc_RuntimeError.*, "spargio.asyncio was imported before in this process");
    inline for (@typeInfo(handle.Helpers).@"struct".field_names) |name| {
        const found = py.PyDict_GetItemString(dict, name) orelse
            return api.raise(
                py.PyExc_RuntimeError.*,
                "spargio: the two halves of the package differ: no helper " ++ name,
            );
        @field(handle.loop_helpers, name) = api.ref(found);
    }
    if (!handle.define() or !timer_handle.define()) return null;
    if (!Loop.define() or !Stream.define() or !Datagram.define() or !waiter.define() or !reader.define()) return null;
    const result = py.PyDict_New() orelse return null;
    inline for (.{
        .{ "LoopCore", Loop.Type },
        .{ "StreamCore", Stream.Type },
        .{ "DatagramCore", Datagram.Type },
        .{ "Handle", handle.Handle.Type },
        .{ "TimerHandle", timer_handle.Timer.Type },
    }) |entry| {
        if (py.PyDict_SetItemString(result, entry[0], entry[1].class) != 0) return null;
    }
    object.foreign_await = Waiter.make;
    made = true;
    return result;
}
