/* SPDX-License-Identifier: MIT
 *
 * echo_spargio.c as coroutines of spargio.hpp: one shard, a task per connection that receives, then
 * sends. Exit status 77 if no runtime can be started. */
#include <array>
#include <cstdio>

#include <spargio.hpp>

#include "../control.h"

namespace {

constexpr std::size_t buffer_size = 65536;

spargio::task<> echo(spargio::tcp_stream stream) {
    std::array<char, buffer_size> buffer;
    for (;;) {
        auto count = co_await stream.recv(buffer);
        if (!count || *count == 0) break;
        if (!co_await stream.send({buffer.data(), *count})) break;
    }
}

spargio::task<> serve(spargio::tcp_listener listener) {
    co_await spargio::with_scope([&](spargio::async_scope &scope) -> spargio::task<> {
        auto clients = listener.incoming();
        while (auto client = co_await clients.next()) {
            (void)client->set_nodelay(true);
            scope.spawn_or_fail(echo(std::move(*client)));
        }
    });
}

} // namespace

int main() {
    spargio::options one;
    one.shards = 1;
    auto runtime = spargio::runtime::start(one);
    if (!runtime) {
        std::fprintf(stderr, "no runtime: %s\n", runtime.error().message().c_str());
        return 77;
    }
    auto listener = spargio::unwrap(spargio::tcp_listener::listen("127.0.0.1", 0));
    announce(spargio::unwrap(listener.local_port()));
    runtime->run(serve(std::move(listener)));
}
