// Awaitables of other libraries in a task: it goes on where it belongs, whoever resumes it.
#include <condition_variable>
#include <stdexcept>
#include <vector>

#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

namespace {

// A reactor of another library: a thread that resumes what waits for it.
class reactor {
public:
    reactor() : thread_([this] { run(); }) {}
    ~reactor() {
        {
            std::lock_guard guard(lock_);
            ends_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    struct awaiter {
        reactor &in;
        int value;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) { in.push(waiting); }
        int await_resume() const {
            if (value < 0) throw std::runtime_error("negative");
            return value;
        }
    };

    awaiter answer(int value) { return {*this, value}; }
    std::thread::id id() const { return thread_.get_id(); }

private:
    void push(std::coroutine_handle<> waiting) {
        {
            std::lock_guard guard(lock_);
            waiting_.push_back(waiting);
        }
        changed_.notify_all();
    }
    void run() {
        std::unique_lock guard(lock_);
        for (;;) {
            changed_.wait(guard, [this] { return ends_ || !waiting_.empty(); });
            if (waiting_.empty()) return;
            std::vector<std::coroutine_handle<>> now;
            now.swap(waiting_);
            guard.unlock();
            for (auto each : now) each.resume();
            guard.lock();
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::vector<std::coroutine_handle<>> waiting_;
    bool ends_ = false;
    std::thread thread_;
};

// A lazy task of another library, which hands over by symmetric transfer.
template <class T> struct lazy {
    struct promise_type {
        T value{};
        std::coroutine_handle<> then;
        lazy get_return_object() {
            return lazy(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        auto final_suspend() const noexcept {
            struct last {
                bool await_ready() const noexcept { return false; }
                std::coroutine_handle<>
                await_suspend(std::coroutine_handle<promise_type> done) const noexcept {
                    return done.promise().then;
                }
                void await_resume() const noexcept {}
            };
            return last{};
        }
        void return_value(T from) { value = from; }
        void unhandled_exception() { std::terminate(); }
    };

    explicit lazy(std::coroutine_handle<promise_type> from) : frame(from) {}
    lazy(lazy &&other) noexcept : frame(std::exchange(other.frame, nullptr)) {}
    ~lazy() {
        if (frame) frame.destroy();
    }
    auto operator co_await() && {
        struct awaiter {
            std::coroutine_handle<promise_type> of;
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) {
                of.promise().then = waiting;
                return of;
            }
            T await_resume() const { return of.promise().value; }
        };
        return awaiter{frame};
    }

    std::coroutine_handle<promise_type> frame;
};

lazy<int> twice(reactor &in, int value) {
    int first = co_await in.answer(value);
    co_return first + co_await in.answer(value);
}

// Says at once that it need not wait, and throws while it begins.
struct at_once {
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
    int await_resume() const noexcept { return 7; }
};

struct never_begins {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const { throw std::runtime_error("no reactor"); }
    void await_resume() const noexcept {}
};

// An operator beside the type, and something that is ready.
struct named {
    int value;
};
auto operator co_await(named from) {
    struct awaiter {
        int value;
        bool await_ready() const noexcept { return true; }
        void await_suspend(std::coroutine_handle<>) const noexcept {}
        int await_resume() const noexcept { return value; }
    };
    return awaiter{from.value};
}

task<long> mixes(reactor &in, int count) {
    counted mine;
    uint32_t before = 0, after = 0;
    std::thread::id self = std::this_thread::get_id();
    CHECK(spargio_current_shard(&before) == SPARGIO_OK);
    long sum = 0;
    for (int i = 0; i < count; i++) {
        sum += co_await in.answer(i);
        CHECK(std::this_thread::get_id() == self);
        sum += co_await twice(in, i);
        CHECK(std::this_thread::get_id() == self);
        co_await yield_now();
    }
    CHECK(spargio_current_shard(&after) == SPARGIO_OK && after == before);
    bool threw = false;
    try {
        (void)co_await in.answer(-1);
    } catch (const std::runtime_error &) {
        threw = true;
    }
    CHECK(threw);
    threw = false;
    try {
        co_await never_begins{};
    } catch (const std::runtime_error &) {
        threw = true;
    }
    CHECK(threw);
    CHECK(co_await at_once{} == 7);
    CHECK(co_await named{8} == 8);
    auto kept = in.answer(9);
    CHECK(co_await kept == 9);
    co_await std::suspend_never{};
    co_return sum;
}

// A cancellation is known to the task, and does not cut the wait: the other side still has the handle.
struct gate {
    std::atomic<void *> waiting{nullptr};

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> who) noexcept { waiting = who.address(); }
    void await_resume() const noexcept {}
};

task<> waits_at(gate &at, std::atomic<int> &step) {
    counted mine;
    co_await at;
    CHECK(stop_requested());
    CHECK((co_await sleep_for(1h)).error() == std::errc::operation_canceled);
    step = 1;
}

void cancelled_meanwhile(runtime &rt) {
    gate at;
    std::atomic<int> step{0};
    join_handle<> handle = rt.spawn(waits_at(at, step));
    while (at.waiting == nullptr) std::this_thread::yield();
    handle.request_stop();
    CHECK(handle.wait(10'000'000).error() == errc::timeout);
    CHECK(step == 0);
    std::coroutine_handle<>::from_address(at.waiting).resume();
    CHECK(handle.wait() && step == 1);
}

} // namespace

int main(int argc, char **argv) {
    constexpr int tasks = 20, each = 100;
    {
        runtime rt(with_shards(argc, argv));
        reactor other;
        std::vector<join_handle<long>> running;
        for (int i = 0; i < tasks; i++) running.push_back(rt.spawn(mixes(other, each)));
        for (auto &one : running) CHECK(one.get() == 3L * each * (each - 1) / 2);
        cancelled_meanwhile(rt);
    }
    CHECK(counted::alive == 0);
}
