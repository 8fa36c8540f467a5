//! Builds libspargio (shared and static), the library of the Python package, and the unit tests.
//!
//!     zig build install --prefix DIR      libspargio.{so,a}, headers, files of pkg-config and CMake
//!     zig build static --prefix DIR       lib/libspargio.a alone
//!     zig build python --prefix DIR       lib/libspargio_python.so, which the wheel ships
//!     zig build test | check              unit tests | compile only
//!     zig build simulate -- --seconds N   new seeds of the simulation (docs/testing.md)
//!     zig build fuzz --prefix DIR         lib/libspargio_fuzz.a, which tests/fuzz works on

const std = @import("std");
const manifest = @import("build.zig.zon");

const version = std.SemanticVersion.parse(manifest.version) catch unreachable;

const Settings = struct {
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.Optimize,
    debug_info: bool,
    sanitize_thread: bool,
    fuzz: bool = false,
    options: *std.Build.Step.Options,
};

pub fn build(b: *std.Build) void {
    const options = b.addOptions();
    options.addOption([:0]const u8, "version", manifest.version);

    const optimize = b.option(
        std.builtin.Optimize,
        "optimize",
        "Optimization mode (default: fast for libraries, debug for tests)",
    );
    const debug_info = b.option(bool, "debug-info", "Keep symbols and debug info in libraries");
    const sanitize_thread = b.option(bool, "sanitize-thread", "Build with ThreadSanitizer");
    options.addOption(bool, "checking_allocator", b.option(
        bool,
        "checking-allocator",
        "Find misuse of memory, and at the end of the process leaks (which make its exit code 97)",
    ) orelse false);
    const target = b.resolveTargetQuery(
        withOldGlibc(b.standardTargetOptionsQueryOnly(.{ .default_target = defaultTarget(b) })),
    );

    const release: Settings = .{
        .target = target,
        .optimize = optimize orelse .fast,
        .debug_info = debug_info orelse (sanitize_thread orelse false),
        .sanitize_thread = sanitize_thread orelse false,
        .options = options,
    };
    var testing = release;
    testing.optimize = optimize orelse .debug;
    testing.debug_info = true;

    const shared = addShared(b, release);
    const static = addArchive(b, "root", "spargio", release);
    const python = addPython(b, release);

    b.installArtifact(shared);
    b.getInstallStep().dependOn(&static.step);
    addDevelopment(b);

    const static_step = b.step("static", "Install the static library alone");
    static_step.dependOn(&static.step);

    const python_step = b.step("python", "Install the library of the Python package");
    python_step.dependOn(&b.addInstallArtifact(python, .{}).step);

    var fuzzing = testing;
    fuzzing.fuzz = b.option(bool, "coverage", "Count edges in the library for fuzzing") orelse true;
    fuzzing.optimize = optimize orelse .safe;
    // Static, because the compiler would link a fuzzer of its own into a shared one.
    const fuzz_step = b.step("fuzz", "Install the library for fuzzing");
    fuzz_step.dependOn(&addArchive(b, "root_fuzz", "spargio_fuzz", fuzzing).step);

    const test_step = b.step("test", "Run the unit tests");
    const check_step = b.step("check", "Compile everything, write nothing");
    const filters = b.option([]const []const u8, "test-filter", "Run only matching tests") orelse
        &.{};
    // The C header as Zig sees it: a test compares it with the library's own structs and constants.
    const header = b.addTranslateC(.{
        .root_source_file = b.path("include/spargio.h"),
        .target = target,
        .optimize = testing.optimize,
    }).createModule();
    for ([_][]const u8{ "root", "root_python" }) |root| {
        const name = b.fmt("test-{s}", .{root});
        const module = addModule(b, root, testing);
        module.addImport("header", header);
        const options_test: std.Build.TestOptions = .{
            .name = name,
            .root_module = module,
            .filters = filters,
        };
        test_step.dependOn(&b.addRunArtifact(b.addTest(options_test)).step);
        check_step.dependOn(&b.addTest(options_test).step);
    }
    addSimulation(b, testing, test_step, check_step);
    // Steps of their own: nobody asks these for a file, so the compiler stops after analysis.
    check_step.dependOn(&addShared(b, release).step);
    check_step.dependOn(&addPython(b, release).step);
}

/// Whole runtimes on a simulated machine: some seeds with the unit tests, as many as wanted by itself.
fn addSimulation(b: *std.Build, settings: Settings, test_step: *std.Build.Step, check_step: *std.Build.Step) void {
    const options: std.Build.ExecutableOptions = .{
        .name = "simulate",
        .root_module = addModule(b, "root_simulation", settings),
    };
    const simulation = b.addExecutable(options);
    const run = b.addRunArtifact(simulation);
    run.addPassthruArgs();
    b.step("simulate", "Run the simulation (arguments after --)").dependOn(&run.step);
    check_step.dependOn(&b.addExecutable(options).step);
    if (settings.sanitize_thread) return; // It knows nothing of fibers.
    const some = b.addRunArtifact(simulation);
    some.addArgs(&.{ "--seed", "1", "--count", "500", "--file" });
    some.addFileArg(b.path("zig-src/simulation/seeds.txt"));
    test_step.dependOn(&some.step);
}

/// A baseline CPU: what is built on one machine runs on the others.
fn defaultTarget(b: *std.Build) std.Target.Query {
    const arch = b.graph.host.result.cpu.arch;
    return switch (arch) {
        .x86_64, .aarch64 => .{ .cpu_arch = arch, .os_tag = .linux, .abi = .gnu },
        else => .{},
    };
}

/// The oldest glibc that the manylinux tag of the wheel promises, unless another one is asked for.
fn withOldGlibc(asked: std.Target.Query) std.Target.Query {
    var query = asked;
    const arch = query.cpu_arch orelse return query;
    if (query.abi != .gnu or query.glibc_version != null) return query;
    if (arch == .x86_64 or arch == .aarch64) query.glibc_version = .{ .major = 2, .minor = 17, .patch = 0 };
    return query;
}

fn addModule(b: *std.Build, root: []const u8, settings: Settings) *std.Build.Module {
    const module = b.createModule(.{
        .root_source_file = b.path(b.fmt("zig-src/{s}.zig", .{root})),
        .target = settings.target,
        .optimize = settings.optimize,
        .strip = !settings.debug_info,
        .sanitize_thread = settings.sanitize_thread,
        .fuzz = settings.fuzz,
        // A runtime asks at its start whether it runs under valgrind (runtime/backend.zig).
        .valgrind = knowsValgrind(settings),
        .link_libc = true,
        // Also the static library ends up in shared objects and in position independent programs.
        .pic = true,
    });
    module.addOptions("build_options", settings.options);
    return module;
}

fn knowsValgrind(settings: Settings) bool {
    return switch (settings.target.result.cpu.arch) {
        .x86_64, .aarch64 => !settings.sanitize_thread,
        else => false,
    };
}

fn addShared(b: *std.Build, settings: Settings) *std.Build.Step.Compile {
    const library = b.addLibrary(.{
        .name = "spargio",
        .root_module = addModule(b, "root", settings),
        .linkage = .dynamic,
        .version = version,
    });
    library.setVersionScript(b.path("include/spargio.map"));
    return linked(library, settings);
}

/// Without a version in its name: it is private to the wheel and found by its path.
/// tools/build_library.py makes the same file, in a fifth of the time if nothing is cached.
fn addPython(b: *std.Build, settings: Settings) *std.Build.Step.Compile {
    const library = b.addLibrary(.{
        .name = "spargio_python",
        .root_module = addModule(b, "root_python", settings),
        .linkage = .dynamic,
    });
    library.setVersionScript(b.path("include/spargio_python.map"));
    return linked(library, settings);
}

/// The fast library needs nothing of Zig's compiler-rt, whose memcpy and strlen are slower than libc's.
/// What is missing is an error of the link, not of the first program.
fn linked(library: *std.Build.Step.Compile, settings: Settings) *std.Build.Step.Compile {
    if (settings.optimize == .fast and !settings.sanitize_thread) library.bundle_compiler_rt = false;
    library.link_z_defs = true;
    // Debuggers and profilers know a stripped library by it.
    library.build_id = .sha1;
    return library;
}

/// The static library: one object, in an archive that names no folder of the build. Never with
/// compiler-rt, whose weak memcpy, strlen or sin would become those of the whole program; what is
/// needed of it, the libgcc of any cc has.
fn addArchive(b: *std.Build, root: []const u8, name: []const u8, settings: Settings) *std.Build.Step.InstallFile {
    const module = addModule(b, root, settings);
    module.stack_check = false; // Its probe is a function of compiler-rt.
    const object = b.addObject(.{ .name = name, .root_module = module });
    object.bundle_compiler_rt = false;
    const file = b.fmt("lib{s}.a", .{name});
    const archive = b.addSystemCommand(&.{ b.graph.zig_exe, "ar", "rcsD" });
    const made = archive.addOutputFileArg(file);
    archive.addFileArg(object.getEmittedBin());
    return b.addInstallLibFile(made, file);
}

/// What programs are built with: headers, and the files of pkg-config and CMake, which find everything
/// relative to themselves, because --prefix is not known here; the installed tree can be moved as well.
fn addDevelopment(b: *std.Build) void {
    const install = b.getInstallStep();
    install.dependOn(&b.addInstallDirectory(.{
        .source_dir = b.path("include"),
        .install_dir = .header,
        .install_subdir = "",
        .include_extensions = &.{ ".h", ".hpp" },
    }).step);
    const texts = b.addWriteFiles();
    for ([_]struct { []const u8, []const u8 }{
        .{ @embedFile("packaging/spargio.pc.in"), "pkgconfig/spargio.pc" },
        .{ @embedFile("packaging/spargioConfig.cmake"), "cmake/spargio/spargioConfig.cmake" },
        .{ @embedFile("packaging/spargioConfigVersion.cmake.in"), "cmake/spargio/spargioConfigVersion.cmake" },
    }) |entry| {
        const template, const path = entry;
        const text = std.mem.replaceOwned(u8, b.allocator, template, "@VERSION@", manifest.version) catch @panic("OOM");
        install.dependOn(&b.addInstallLibFile(texts.add(path, text), path).step);
    }
}
