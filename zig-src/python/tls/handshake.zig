//! handshake: a flight of the peer's, OpenSSL's step, our flight, until it is done. CPython has the last
//! word: Python's half calls its `do_handshake` afterwards, which finds the end there, or the same error. On
//! the shard of the task that awaits, which has the turn to receive.

const api = @import("../cpython/api.zig");
const input = @import("input.zig");
const py_interpreter = @import("../task/py_interpreter.zig");
const turn = @import("turn.zig");
const write_all = @import("write_all.zig");
const Engine = @import("engine.zig").Engine;
const EngineType = @import("engine_type.zig").Type;
const PyTask = @import("../task/py_task.zig").PyTask;
const TlsOp = @import("tls_op.zig").TlsOp;
const Object = api.Object;
const py = &api.py;

/// handshake(descriptor): an awaitable. Whether the handshake is done says CPython.
pub fn handshake(engine: *Object, descriptor: *Object) callconv(.c) ?*Object {
    const self = TlsOp.create(.handshake, engine, descriptor) orelse return null;
    return TlsOp.Type.objectOf(self);
}

pub fn goOn(self: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    const engine = self.engineOf();
    if (!turn.take(self, .receiving)) return turn.wait(self, me, suspended, .receiving);
    while (true) {
        if (self.isClosing()) return self.raiseClosed();
        var outcome: ?*Object = null;
        if (!write_all.flush(self, me, suspended, &outcome)) return outcome;
        if (engine.shaken) return self.succeeded(api.none());
        if (me.cancelWanted()) return self.cancelled(me);
        switch (step(engine) orelse return input.receive(self, me, suspended)) {
            .wants => {},
            .stopped => if (!engine.shaken) return self.succeeded(api.none()),
        }
    }
}

/// shake(): a step, for who feeds and takes; False if more has to be fed.
pub fn shakeNow(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const stopped = step(EngineType.body(instance)) == .stopped;
    return py.PyBool_FromLong(@intFromBool(stopped));
}

/// Null: the peer has said nothing yet. Others may have the interpreter meanwhile, also for the short steps: on
/// two shards with a lock of the interpreter that makes more handshakes than fewer hand-overs do.
fn step(engine: *Engine) ?Engine.Step {
    engine.enter();
    const may = engine.mayShake();
    engine.leave();
    if (!may) return null;
    const state = py.PyEval_SaveThread();
    engine.enterDetached();
    const result = engine.shake();
    engine.leave();
    py_interpreter.comeBack(state);
    return result;
}
