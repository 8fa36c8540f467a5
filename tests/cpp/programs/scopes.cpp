// Scopes: nothing is left behind, whatever ends them.
#include <stdexcept>

#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

namespace {

task<int> after(std::chrono::milliseconds delay, int value) {
    counted mine;
    unwrap(co_await sleep_for(delay));
    co_return value;
}

task<> forever() {
    counted mine;
    unwrap(co_await sleep_for(1h));
}

task<> fails_after(std::chrono::milliseconds delay) {
    counted mine;
    unwrap(co_await sleep_for(delay));
    throw std::runtime_error("failed");
}

template <class Work> task<std::string> what_of(Work work) {
    std::string found = "nothing";
    try {
        co_await work();
    } catch (const cancelled_error &) {
        found = "cancelled";
    } catch (const std::exception &error) {
        found = error.what();
    }
    co_return found;
}

// Children of children, on all shards, and the body's value.
task<int> waits_for_all() {
    std::atomic<int> ended{0};
    auto leaf = [&ended]() -> task<> {
        counted mine;
        (void)co_await sleep_for(1ms);
        ended++;
    };
    int value = co_await with_scope([&](async_scope &scope) -> task<int> {
        for (int i = 0; i < 50; i++) {
            CHECK(scope.spawn(leaf(), i % 2 ? stealable : here));
        }
        CHECK(scope.size() >= 1);
        co_return 3;
    });
    CHECK(counted::alive == 0);
    co_return value + ended;
}

task<> an_error_stops_the_others() {
    std::string found = co_await what_of([]() -> task<> {
        co_await with_scope([](async_scope &scope) -> task<> {
            scope.spawn_or_fail(forever());
            scope.spawn_or_fail(forever(), stealable);
            scope.spawn_or_fail(fails_after(2ms), stealable);
            co_await forever(); // The body is stopped as well.
        });
    });
    CHECK(found == "failed");
    CHECK(counted::alive == 0);
}

task<> a_scope_that_was_stopped() {
    co_await with_scope([](async_scope &scope) -> task<> {
        scope.spawn_or_fail(forever());
        scope.request_stop();
        CHECK(stop_requested());
        scope.spawn_or_fail(forever()); // begins cancelled
        co_return;
    });
    CHECK(counted::alive == 0);
}

task<> throws_when_stopped() {
    (void)co_await sleep_for(1h);
    throw std::runtime_error("stopped");
}

task<> all() {
    auto [one, two, nothing] =
        co_await when_all(after(2ms, 1), after(1ms, 2), []() -> task<> { co_return; }());
    CHECK(one == 1 && two == 2);
    (void)nothing;
    std::vector<task<int>> many;
    for (int i = 0; i < 20; i++) many.push_back(after(1ms, i));
    std::vector<int> values = co_await when_all(std::move(many));
    CHECK(values.size() == 20 && values[19] == 19);
    CHECK(co_await what_of([]() -> task<> {
              (void)co_await when_all(after(1h, 1), fails_after(1ms));
          }) == "failed");
    CHECK(counted::alive == 0);
}

task<> any() {
    auto first = co_await when_any(after(1h, 1), after(1ms, 2), forever());
    CHECK(first.index() == 1 && std::get<1>(first) == 2);
    CHECK(counted::alive == 0);
    std::vector<task<int>> many;
    for (int i = 0; i < 5; i++) many.push_back(after(i == 3 ? 1ms : 1h, i));
    auto [index, value] = co_await when_any(std::move(many));
    CHECK(index == 3 && value == 3);
    CHECK(co_await what_of([]() -> task<> {
              (void)co_await when_any(forever(), fails_after(1ms));
          }) == "failed");
    // What the others throw when they are stopped does not cost its value.
    auto kept = co_await when_any(after(1ms, 5), throws_when_stopped());
    CHECK(kept.index() == 0 && std::get<0>(kept) == 5);
    // The first one ends without a wait: the others may not have begun.
    auto at_once = co_await when_any([]() -> task<int> { co_return 9; }(), forever());
    CHECK(at_once.index() == 0);
    CHECK(counted::alive == 0);
}

task<result<int>> gives_up() {
    auto slept = co_await sleep_for(1h);
    co_return failure(slept.error());
}

task<> limits() {
    CHECK(*co_await timeout(1h, after(1ms, 4)) == 4);
    CHECK((co_await timeout(1ms, after(1h, 4))).error() == errc::timeout);
    CHECK((co_await timeout(1ms, gives_up())).error() == std::errc::timed_out);
    CHECK(co_await timeout(1h, []() -> task<> { co_return; }()));
    CHECK(co_await what_of([]() -> task<> { (void)co_await timeout(1h, fails_after(1ms)); }) ==
          "failed");
    CHECK((co_await timeout(-1s, forever())).error() == errc::timeout);
    CHECK(counted::alive == 0);
}

task<> tokens() {
    std::stop_source source;
    std::thread stopper([&source] {
        std::this_thread::sleep_for(2ms);
        source.request_stop();
    });
    CHECK(co_await what_of([&]() -> task<> {
              co_await with_stop(source.get_token(), forever());
          }) == "cancelled");
    stopper.join();
    CHECK(co_await what_of([&]() -> task<> {
              co_await with_stop(source.get_token(), forever());
          }) == "cancelled");
    CHECK(co_await with_stop(std::stop_token(), after(1ms, 6)) == 6);
    CHECK(counted::alive == 0);
}

// What is cancelled from outside passes it on, waits, and reports it; a shield holds.
task<> cancelled_outside(std::atomic<int> &step) {
    auto clean_up = [&]() -> task<> {
        CHECK(!stop_requested());
        CHECK(co_await sleep_for(1ms));
        step = 3;
    };
    CHECK(co_await what_of([&]() -> task<> {
              co_await with_scope([&](async_scope &scope) -> task<> {
                  scope.spawn_or_fail(forever());
                  scope.spawn_or_fail(forever(), stealable);
                  step = 1;
                  co_await forever();
              });
          }) == "cancelled");
    CHECK(step == 1 && stop_requested());
    step = 2;
    co_await shield(clean_up());
    CHECK(step == 3);
}

task<> nothing() { co_return; }

// Scopes that a task makes when its cancellation is long known to it are stopped all the same.
task<> scopes_after_the_cancellation(std::atomic<int> &step) {
    step = 1;
    CHECK(!co_await sleep_for(1h));
    for (int i = 0; i < 3; i++) co_await yield_now();
    CHECK(co_await what_of([]() -> task<> {
              co_await with_scope([](async_scope &) -> task<> { co_await forever(); });
          }) == "cancelled");
    CHECK(co_await what_of([]() -> task<> { (void)co_await when_any(forever(), forever()); }) ==
          "cancelled");
    CHECK((co_await timeout(1h, forever())).error() == std::errc::operation_canceled);
    co_await shield([]() -> task<> { CHECK(co_await sleep_for(1ms)); }());
    step = 2;
}

// The runtime accepts no more: nothing is left to wait for, with a time limit or without.
task<> limits_after_the_end(std::atomic<int> &step) {
    step = 1;
    CHECK(!co_await sleep_for(1h));
    for (int i = 0; i < 3; i++) co_await yield_now();
    CHECK(co_await what_of([]() -> task<> { (void)co_await timeout(1h, forever()); }) != "nothing");
    step = 2;
}

// The runtime's end comes between the start of the racers and their first step.
task<> a_race_that_never_begins(runtime &rt, std::atomic<int> &step) {
    auto holds_the_shard = [&]() -> task<> {
        step = 1;
        while (rt.try_spawn(nothing(), round_robin)) std::this_thread::sleep_for(1ms);
        co_return;
    };
    auto held = co_await spawn(holds_the_shard());
    std::vector<task<int>> many;
    many.push_back(after(1ms, 1));
    CHECK(co_await what_of([&]() -> task<> { (void)co_await when_any(std::move(many)); }) ==
          "cancelled");
    step = 2;
}

void ends_of_the_runtime(const options &with) {
    std::atomic<int> step{0};
    {
        runtime rt(with);
        join_handle<> late = rt.spawn(scopes_after_the_cancellation(step));
        while (step == 0) std::this_thread::yield();
        late.request_stop();
        CHECK(late.wait(10'000'000'000) && step == 2);
    }
    {
        step = 0;
        runtime rt(with);
        (void)rt.spawn(limits_after_the_end(step));
        while (step == 0) std::this_thread::yield();
        CHECK(rt.shutdown(10'000'000'000) && step == 2);
    }
    step = 0;
    runtime rt(with);
    (void)rt.spawn(a_race_that_never_begins(rt, step));
    while (step == 0) std::this_thread::yield();
    CHECK(rt.shutdown() && step == 2);
    CHECK(counted::alive == 0);
}

void a_member_scope(runtime &rt) {
    struct server {
        async_scope scope;
        std::atomic<int> served{0};
        explicit server(runtime &in) : scope(in) {}
        task<> serve() {
            served++;
            co_return;
        }
    } server(rt);
    for (int i = 0; i < 100; i++) CHECK(server.scope.spawn(server.serve()));
    rt.run(server.scope.join());
    CHECK(server.served == 100);
}

// Several wait for one scope: each goes on when it is empty, and one has the error.
void joined_by_many(runtime &rt) {
    for (int i = 0; i < 50; i++) {
        async_scope scope(rt);
        std::atomic<bool> go{false};
        auto work = [&]() -> task<> {
            while (!go) co_await yield_now();
            if (i % 2) throw std::runtime_error("failed");
        };
        auto join = [&]() -> task<> { co_await scope.join(); };
        CHECK(scope.spawn(work(), stealable));
        std::vector<join_handle<>> waiting;
        for (int n = 0; n < 4; n++) waiting.push_back(rt.spawn(join(), stealable));
        go = true;
        int failed = 0;
        for (auto &one : waiting) {
            try {
                CHECK(one.wait());
            } catch (const std::runtime_error &) {
                failed++;
            }
        }
        CHECK(failed == i % 2);
    }
}

// It would wait for itself: directly, and from within a scope that it waits for.
task<> joined_by_its_own() {
    auto joins = [](async_scope &scope) -> task<bool> {
        bool refused = false;
        try {
            co_await scope.join();
        } catch (const std::system_error &error) {
            refused = error.code() == std::errc::resource_deadlock_would_occur;
        }
        co_return refused;
    };
    co_await with_scope([&](async_scope &outer) -> task<> {
        CHECK(co_await joins(outer));
        co_await with_scope([&](async_scope &inner) -> task<> {
            CHECK(co_await joins(inner));
            CHECK(co_await joins(outer));
        });
        auto [refused, other] = co_await when_all(joins(outer), after(1ms, 4));
        CHECK(refused && other == 4);
        async_scope another(co_await detail::own_root{});
        CHECK(another.spawn(forever()));
        another.request_stop();
        CHECK(!co_await joins(another)); // That one ends.
    });
    CHECK(counted::alive == 0);
}

// A queue of 4 tasks: who cannot wait is refused, who can is served.
void small_queues(const options &with) {
    options small = with;
    small.stealable_queue_capacity = 4;
    runtime rt(small);
    std::atomic<int> ran{0};
    auto count = [&]() -> task<> {
        counted mine;
        ran++;
        co_return;
    };
    int refused = rt.run([](auto &one) -> task<int> {
        int overloaded = 0;
        co_await with_scope([&](async_scope &scope) -> task<> {
            for (int i = 0; i < 1000; i++) {
                auto spawned = scope.spawn(one(), stealable);
                if (!spawned) CHECK(spawned.error() == errc::overloaded);
                overloaded += !spawned;
            }
            for (int i = 0; i < 1000; i++) CHECK(co_await scope.spawn_wait(one()));
        });
        co_return overloaded;
    }(count));
    CHECK(refused > 0 && ran == 2000 - refused);
    CHECK(counted::alive == 0);
}

void spawned_by_many(runtime &rt) {
    async_scope scope(rt);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([&] {
            for (int i = 0; i < 500; i++) {
                while (!scope.spawn(nothing())) std::this_thread::yield();
            }
        });
    for (auto &thread : threads) thread.join();
    rt.run(scope.join());
    CHECK(scope.size() == 0);
}

} // namespace

int main(int argc, char **argv) {
    options with = with_shards(argc, argv);
    runtime rt(with);
    CHECK(rt.run(waits_for_all()) == 53);
    for (int i = 0; i < 20; i++) {
        rt.run(an_error_stops_the_others());
        rt.run(a_scope_that_was_stopped());
    }
    rt.run(all());
    rt.run(any());
    rt.run(limits());
    rt.run(tokens());
    a_member_scope(rt);
    spawned_by_many(rt);
    joined_by_many(rt);
    rt.run(joined_by_its_own());
    small_queues(with);
    ends_of_the_runtime(with);

    std::atomic<int> step{0};
    join_handle<> handle = rt.spawn(cancelled_outside(step));
    while (step == 0) std::this_thread::yield();
    handle.request_stop();
    CHECK(handle.wait());

    // The end of the runtime is a cancellation as well.
    auto scoped = []() -> task<> {
        co_await with_scope([](async_scope &scope) -> task<> {
            for (int i = 0; i < 10; i++) scope.spawn_or_fail(forever(), stealable);
            co_await forever();
        });
    };
    (void)rt.spawn(scoped());
    while (counted::alive < 11) std::this_thread::yield();
    CHECK(rt.shutdown());
    CHECK(counted::alive == 0);
}
