/*
 * spargio.hpp: spargio for C++20 and newer, header only, on top of spargio.h.
 *
 *     #include <spargio.hpp>
 *
 *     spargio::task<> serve(spargio::tcp_stream stream) {
 *         std::array<char, 4096> buffer;
 *         while (auto count = co_await stream.recv(buffer)) {
 *             if (*count == 0 || !co_await stream.send({buffer.data(), *count})) break;
 *         }
 *     }
 *
 *     spargio::task<> listen(spargio::tcp_listener listener) {
 *         co_await spargio::with_scope([&](spargio::async_scope &scope) -> spargio::task<> {
 *             auto clients = listener.incoming();
 *             while (auto client = co_await clients.next())
 *                 co_await scope.spawn_wait(serve(std::move(*client)));
 *         });
 *     }
 *
 *     int main() {
 *         spargio::runtime runtime;
 *         runtime.run(listen(spargio::unwrap(spargio::tcp_listener::listen("127.0.0.1", 7000))));
 *     }
 *
 * The parts
 *   result.hpp     result<T> = expected<T, std::error_code>; unwrap() for exceptions
 *   task.hpp       task<T>
 *   foreign.hpp    awaitables of other libraries inside a task
 *   operation.hpp  operations, .within(limit), sleep_for, yield_now
 *   runtime.hpp    runtime, options, placements, spawn, join_handle<T>
 *   scope.hpp      async_scope, with_scope, when_all, when_any, timeout, with_stop, shield
 *   channel.hpp    channel<T, Capacity>
 *   blocking.hpp   blocking(function), resolve, signal_set
 *   net.hpp        tcp_stream, tcp_listener, udp_socket, endpoint
 *   file.hpp       file
 *
 * Rules
 *  - Only a task<T> awaits. Coroutines that await each other run on one shard, one at a time, also
 *    after an await of another library's awaitable.
 *  - No memory is allocated but the coroutines' frames (and the vectors of when_all and when_any).
 *  - Cancellation is a state of a task. What waits ends with std::errc::operation_canceled, and so
 *    does each operation that is awaited later, but for closing, and what is under shield().
 *  - A coroutine's arguments that are references, and a lambda's captures, must outlive it: in a
 *    scope they do, if they lie outside of it.
 *
 * Since 0.4. gcc 11, clang 14 or newer.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_HPP
#define SPARGIO_HPP

#include "spargio/blocking.hpp"
#include "spargio/channel.hpp"
#include "spargio/file.hpp"
#include "spargio/net.hpp"
#include "spargio/operation.hpp"
#include "spargio/result.hpp"
#include "spargio/runtime.hpp"
#include "spargio/scope.hpp"
#include "spargio/task.hpp"

#endif
