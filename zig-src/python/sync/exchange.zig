//! The exchange of task/exchange.zig with Python's objects as values and futures that wait. Any thread.

const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const trashcan = @import("../cpython/trashcan.zig");
const core = @import("../../task/exchange.zig");
const Future = @import("future.zig").Future;

pub const Side = core.Side;
pub const Put = core.Put;

pub const Exchange = core.ExchangeType(Future, struct {
    pub const Value = *api.Object;

    pub fn done() Value {
        return api.py._Py_NoneStruct;
    }

    pub fn closed() Value {
        return callbacks.table.CLOSED;
    }

    pub fn nothing() Value {
        return callbacks.table.NOTHING;
    }

    pub fn isNothing(value: Value) bool {
        return value == callbacks.table.NOTHING;
    }

    pub const ref = api.ref;
    pub const drop = trashcan.drop;
});
