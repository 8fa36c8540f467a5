// channel<T, Capacity>: order, room, ends, cancellation, many on both sides, ordinary threads.
#include <numeric>
#include <vector>

#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

namespace {

struct item {
    int value;
    counted mine;
    explicit item(int from) : value(from) {}
    item(item &&from) noexcept : value(std::exchange(from.value, -1)) {}
};

task<> in_order() {
    channel<int, 2> numbers;
    CHECK(numbers.try_send(1) && numbers.try_send(2));
    CHECK(numbers.try_send(3).error() == errc::overloaded);
    co_await with_scope([&](async_scope &scope) -> task<> {
        auto sender = [&](int value) -> task<> { CHECK(co_await numbers.send(value)); };
        for (int value = 3; value < 10; value++) {
            scope.spawn_or_fail(sender(value));
            co_await yield_now();
        }
        for (int value = 1; value < 10; value++) CHECK(unwrap(co_await numbers.receive()) == value);
    });
    CHECK(numbers.try_receive().error() == errc::overloaded);
    CHECK(numbers.try_send(11));
    numbers.finish();
    CHECK(numbers.try_send(12).error() == errc::closed);
    CHECK((co_await numbers.send(12)).error() == errc::closed);
    CHECK(*co_await numbers.receive() == 11);
    CHECK((co_await numbers.receive()).error() == errc::closed);
    CHECK(numbers.try_receive().error() == errc::closed);
}

// A receiver that gave up takes nothing: what is sent goes to the next.
task<> cancelled_receivers() {
    channel<int, 1> numbers;
    for (int i = 0; i < 50; i++) {
        auto receive = [&]() -> task<result<int>> { co_return co_await numbers.receive(); };
        CHECK((co_await timeout(100us, receive())).error() == errc::timeout);
        CHECK(numbers.try_send(i));
        CHECK(*co_await numbers.receive() == i);
        // Full, and a sender gives up.
        CHECK(numbers.try_send(1));
        auto send = [&]() -> task<result<void>> { co_return co_await numbers.send(2); };
        CHECK((co_await timeout(100us, send())).error() == errc::timeout);
        CHECK(*numbers.try_receive() == 1);
        CHECK(numbers.try_receive().error() == errc::overloaded);
    }
}

task<> closed_while_waiting() {
    channel<int, 1> numbers;
    co_await with_scope([&](async_scope &scope) -> task<> {
        auto receive = [&]() -> task<> {
            CHECK((co_await numbers.receive()).error() == errc::closed);
        };
        for (int i = 0; i < 4; i++) scope.spawn_or_fail(receive(), i % 2 ? stealable : here);
        (void)co_await sleep_for(1ms);
        numbers.close();
    });
}

// Sends that have begun are received after the end; then a close refuses them, and drops the rest.
task<> ended_while_senders_wait() {
    channel<item, 1> items;
    int refused = 0;
    auto send = [&](int value) -> task<> { // It outlives the scope's body.
        result<void> sent = co_await items.send(item(value));
        if (sent) co_return;
        CHECK(sent.error() == errc::closed);
        refused++;
    };
    co_await with_scope([&](async_scope &scope) -> task<> {
        for (int i = 0; i < 5; i++) scope.spawn_or_fail(send(i));
        co_await yield_now(); // One is in, four wait.
        items.finish();
        CHECK(items.try_send(item(9)).error() == errc::closed);
        for (int i = 0; i < 3; i++) CHECK(unwrap(co_await items.receive()).value == i);
        CHECK(refused == 0);
        items.close();
        CHECK(items.try_receive().error() == errc::closed);
        CHECK((co_await items.receive()).error() == errc::closed);
    });
    CHECK(refused == 1);
    CHECK(counted::alive == 0);
}

constexpr int senders = 4, receivers = 3, each = 2000;

// Each value once, whoever sends and receives; an ordinary thread sends too.
task<long> many(channel<item, 8> &items) {
    std::atomic<long> sum{0};
    std::atomic<int> left{senders + 1};
    auto send = [&](int number) -> task<> {
        for (int i = 0; i < each; i++) CHECK(co_await items.send(item(number * each + i)));
        if (--left == 0) items.finish();
    };
    auto receive = [&]() -> task<> {
        while (auto got = co_await items.receive()) sum += got->value;
    };
    std::thread outside([&] {
        for (int i = 0; i < each; i++) {
            while (!items.try_send(item(senders * each + i))) std::this_thread::yield();
        }
        if (--left == 0) items.finish();
    });
    co_await with_scope([&](async_scope &scope) -> task<> {
        for (int i = 0; i < senders; i++) scope.spawn_or_fail(send(i), stealable);
        for (int i = 0; i < receivers; i++) scope.spawn_or_fail(receive(), stealable);
        co_return;
    });
    outside.join();
    co_return sum;
}

} // namespace

int main(int argc, char **argv) {
    runtime rt(with_shards(argc, argv));
    rt.run(in_order());
    rt.run(cancelled_receivers());
    rt.run(closed_while_waiting());
    rt.run(ended_while_senders_wait());
    channel<item, 8> items;
    long count = (senders + 1) * each;
    CHECK(rt.run(many(items)) == count * (count - 1) / 2);
    {
        channel<item, 3> dropped;
        CHECK(dropped.try_send(item(1)) && dropped.try_send(item(2)));
    }
    CHECK(counted::alive == 0);
}
