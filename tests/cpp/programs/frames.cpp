// Nothing is allocated by C++ but the frames of coroutines.
#include <new>

#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

static std::atomic<int> allocations{0};

void *operator new(std::size_t size) {
    allocations++;
    if (void *memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

namespace {

constexpr int rounds = 100;

// One frame, however often it waits.
task<> echo(tcp_stream stream) {
    std::array<char, 256> buffer;
    while (auto count = co_await stream.recv(buffer)) {
        if (*count == 0 || !co_await stream.send({buffer.data(), *count})) break;
    }
}

task<> talk(uint16_t port) {
    auto stream = co_await tcp_stream::connect("127.0.0.1", port);
    std::array<char, 256> buffer;
    for (int i = 0; i < rounds; i++) {
        CHECK(co_await stream->send("text"));
        CHECK(co_await stream->recv(buffer).within(1h));
    }
}

task<> both() {
    channel<int, 4> numbers;
    tcp_listener listener = unwrap(tcp_listener::listen("127.0.0.1", 0));
    int before = allocations;
    auto server = co_await spawn(talk(unwrap(listener.local_port())));
    auto client = co_await spawn(echo(unwrap(co_await listener.accept())));
    for (int i = 0; i < rounds; i++) {
        CHECK(co_await numbers.send(i));
        CHECK(unwrap(co_await numbers.receive()) == i);
        co_await sleep_for(1us);
        co_await yield_now();
    }
    CHECK(co_await server);
    CHECK(co_await client);
    CHECK(allocations - before == 2);
}

} // namespace

int main() {
    options one;
    one.shards = 1;
    runtime rt(one);
    rt.run(both());
}
