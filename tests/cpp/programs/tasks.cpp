// task<T>, spawn, join_handle: values, exceptions, threads, ends.
#include <stdexcept>

#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

namespace {

task<int> number(int value) { co_return value; }

task<int> sum_to(int count) {
    counted mine;
    if (count == 0) co_return 0;
    co_return count + co_await sum_to(count - 1);
}

task<> throws(const char *what) {
    co_await yield_now();
    throw std::runtime_error(what);
}

task<std::string> catches() {
    counted mine;
    std::string found;
    try {
        co_await throws("inside");
    } catch (const std::runtime_error &error) {
        found = error.what();
    }
    co_return found;
}

task<std::unique_ptr<int>> moves(std::unique_ptr<int> from) {
    co_await sleep_for(1us);
    ++*from;
    co_return from;
}

task<result<int>> fails() { co_return failure(errc::invalid); }

task<uint32_t> where() {
    uint32_t shard = 99;
    CHECK(spargio_current_shard(&shard) == SPARGIO_OK);
    co_return shard;
}

task<int> spawns() {
    counted mine;
    join_handle<int> one = co_await spawn(number(1));
    join_handle<int> two = co_await spawn(sum_to(2), stealable);
    join_handle<> none = co_await spawn(throws("joined"));
    result<int> first = co_await one, second = co_await two;
    CHECK(first && second);
    CHECK((co_await one).error() == errc::closed); // taken once
    bool threw = false;
    try {
        (void)co_await none;
    } catch (const std::runtime_error &error) {
        threw = std::string(error.what()) == "joined";
    }
    CHECK(threw);
    co_return *first + *second;
}

task<> until_stopped(std::atomic<bool> &began) {
    counted mine;
    began = true;
    while (!stop_requested()) (void)co_await sleep_for(1h);
    CHECK((co_await sleep_for(1ms)).error() == std::errc::operation_canceled);
}

task<result<int>> waits_for(join_handle<int> &other, std::atomic<bool> &waiting) {
    waiting = true;
    co_return co_await other;
}

task<int> held_up(std::atomic<bool> &go) {
    while (!go) (void)co_await sleep_for(100us);
    co_return 5;
}

// A handle that is moved while a task waits for it still serves that task; one that goes away does not.
task<> handles_that_move() {
    for (bool stays : {true, false}) {
        std::atomic<bool> go{false}, waiting{false};
        auto slot = std::make_unique<join_handle<int>>(co_await spawn(held_up(go)));
        auto waits = [&]() -> task<result<int>> { co_return co_await waits_for(*slot, waiting); };
        join_handle<result<int>> waiter = co_await spawn(waits());
        while (!waiting) co_await yield_now();
        join_handle<int> moved;
        if (stays) {
            join_handle<int> first(std::move(*slot));
            moved = std::move(first);
        }
        slot.reset();
        go = true;
        result<int> got = co_await waiter;
        if (stays) CHECK(*got == 5 && !moved);
        else CHECK(got.error() == errc::closed);
    }
    // Two wait for one handle: its result is taken once.
    std::atomic<bool> go{false}, waiting{false};
    join_handle<int> shared = co_await spawn(held_up(go));
    join_handle<result<int>> one = co_await spawn(waits_for(shared, waiting)),
                             two = co_await spawn(waits_for(shared, waiting));
    for (int i = 0; i < 3; i++) co_await yield_now();
    go = true;
    result<int> first = co_await one, second = co_await two;
    CHECK(first.has_value() != second.has_value());
    CHECK((first ? second : first).error() == errc::closed);
}

void values(runtime &rt) {
    CHECK(rt.run(number(7)) == 7);
    CHECK(rt.run(sum_to(100)) == 5050);
    CHECK(rt.run(catches()) == "inside");
    CHECK(*rt.run(moves(std::make_unique<int>(41))) == 42);
    CHECK(rt.run(fails()).error() == errc::invalid);
    CHECK(rt.run(fails()).error() == std::errc::invalid_argument);
    CHECK(rt.run(spawns()) == 4);
    rt.run(handles_that_move());
    { task<int> never_begun = sum_to(3); }
    bool threw = false;
    try {
        rt.run(throws("outside"));
    } catch (const std::runtime_error &error) {
        threw = std::string(error.what()) == "outside";
    }
    CHECK(threw);
}

void places(runtime &rt, uint32_t shards) {
    for (uint32_t shard = 0; shard < shards; shard++)
        CHECK(rt.spawn(where(), pinned(shard)).get() == shard);
    CHECK(rt.spawn(where(), sticky(5)).get() == rt.spawn(where(), sticky(5)).get());
    auto refused = rt.try_spawn(number(1), pinned(shards));
    CHECK(!refused && refused.error() == errc::invalid_shard);
}

void stops(runtime &rt) {
    std::atomic<bool> began{false}, waiting{false}, go{false};
    join_handle<> handle = rt.spawn(until_stopped(began));
    CHECK(handle.wait(1).error() == errc::timeout);
    while (!began) std::this_thread::yield();
    handle.request_stop();
    CHECK(handle.wait());
    CHECK(handle.wait().error() == errc::closed);

    // A cancelled wait leaves the other task alone.
    join_handle<int> other = rt.spawn(held_up(go));
    join_handle<result<int>> waiter = rt.spawn(waits_for(other, waiting));
    while (!waiting) std::this_thread::yield();
    waiter.request_stop();
    CHECK(waiter.wait().error() == std::errc::operation_canceled);
    go = true;
    CHECK(other.get() == 5);
}

// Cancelled before it began: it never runs, and its frame is freed all the same.
void never_begins(const options &with) {
    std::atomic<bool> began{false}, blocked{false}, go{false};
    options one = with;
    one.shards = 1;
    runtime rt(one);
    auto block = [](std::atomic<bool> &at, std::atomic<bool> &until) -> task<> {
        at = true;
        while (!until) std::this_thread::yield();
        co_return;
    };
    join_handle<> blocker = rt.spawn(block(blocked, go));
    while (!blocked) std::this_thread::yield();
    join_handle<> never = rt.spawn(until_stopped(began));
    never.request_stop();
    go = true;
    CHECK(never.wait().error() == std::errc::operation_canceled);
    CHECK(blocker.wait());
    CHECK(!began);
}

void ends(const options &with) {
    std::atomic<bool> began{false};
    runtime rt(with);
    (void)rt.spawn(until_stopped(began)); // nobody joins it
    while (!began) std::this_thread::yield();
    CHECK(rt.shutdown());
    CHECK(rt.shutdown());
    bool threw = false;
    try {
        (void)rt.spawn(number(1));
    } catch (const std::system_error &error) {
        threw = error.code() == errc::closed;
    }
    CHECK(threw);
}

} // namespace

int main(int argc, char **argv) {
    options with = with_shards(argc, argv);
    {
        runtime rt(with);
        values(rt);
        places(rt, with.shards);
        stops(rt);
    }
    never_begins(with);
    ends(with);
    options wrong;
    wrong.shards = 1000;
    CHECK(runtime::start(wrong).error() == errc::invalid);
    CHECK(counted::alive == 0);
}
