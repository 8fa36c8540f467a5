// Random trees of tasks, scopes, races, limits and exceptions, cancelled at random: whatever
// happens, each tree ends, and nothing of it is left. argv: shards, trees, seed.
#include <random>
#include <stdexcept>

#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

namespace {

using generator = std::minstd_rand;

constexpr int depth_max = 4;

std::chrono::microseconds some_time(generator &random) {
    return std::chrono::microseconds(random() % 10 == 0 ? 3'600'000'000 : random() % 300);
}

task<> node(unsigned seed, int depth);

task<> leaf(generator &random) {
    channel<int, 1> nothing;
    switch (random() % 6) {
    case 0: co_return;
    case 1: throw std::runtime_error("leaf");
    case 2: unwrap(co_await sleep_for(some_time(random))); break;
    case 3: co_await yield_now(); break;
    case 4: (void)co_await sleep_for(some_time(random)); break;
    default:
        (void)co_await timeout(some_time(random),
                               [](auto &in) -> task<> { (void)co_await in.receive(); }(nothing));
    }
}

task<> branches(generator &random, int depth) {
    auto child = [&] { return node(static_cast<unsigned>(random()), depth + 1); };
    switch (random() % 6) {
    case 0: (void)co_await when_all(child(), child()); break;
    case 1: (void)co_await when_any(child(), child(), child()); break;
    case 2: (void)co_await timeout(some_time(random), child()); break;
    case 3: co_await shield(timeout(1ms, child())); break;
    case 4: co_await child(); break;
    default:
        co_await with_scope([&](async_scope &scope) -> task<> {
            for (auto count = random() % 4; count > 0; count--)
                scope.spawn_or_fail(child(), random() % 2 ? stealable : here);
            if (random() % 3 == 0) scope.request_stop();
            co_await child();
        });
    }
}

task<> node(unsigned seed, int depth) {
    counted mine;
    generator random(seed);
    if (depth == depth_max) co_await leaf(random);
    else co_await branches(random, depth);
}

} // namespace

int main(int argc, char **argv) {
    runtime rt(with_shards(argc, argv));
    int trees = argc > 2 ? std::atoi(argv[2]) : 2000;
    unsigned seed = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : std::random_device()();
    std::fprintf(stderr, "seed %u\n", seed);
    generator random(seed);
    constexpr int together = 20;
    for (int i = 0; i < trees; i += together) {
        join_handle<> handles[together];
        for (auto &handle : handles) handle = rt.spawn(node(static_cast<unsigned>(random()), 0));
        for (auto &handle : handles) {
            // Some are left alone for a while; what waits for an hour ends with the rest.
            if (random() % 2)
                std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
            handle.request_stop();
        }
        for (auto &handle : handles) {
            try {
                (void)handle.wait();
            } catch (const std::exception &) {}
        }
        CHECK(counted::alive == 0);
    }
}
