//! Functions of the C library, or of a sanitizer, that a program may lack. Any thread.

/// The function of that name, or null. Its address lies in a variable that is read at run time, because
/// the compiler takes the address of a weak function for one that is never null, and drops the question.
pub inline fn function(comptime Function: type, comptime name: []const u8) ?*const Function {
    const held = struct {
        var address: ?*const Function = @extern(?*const Function, .{ .name = name, .linkage = .weak });
    };
    return @as(*const volatile ?*const Function, &held.address).*;
}
