/*
 * task<T>: a coroutine that runs on a shard. It begins when it is awaited or spawned.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_TASK_HPP
#define SPARGIO_TASK_HPP

#include <atomic>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "result.hpp"

namespace spargio {

template <class T = void> class task;
template <class T = void> class join_handle;
class async_scope;

namespace detail {

/**
 * In each coroutine's promise; used in the one that was spawned. All coroutines that it awaits, one
 * inside the other, are one task of the C interface: whichever waits says so in the root.
 */
struct root {
    /** Whether the waiting coroutine may go on: SPARGIO_PENDING, or anything else. */
    int32_t (*ask)(void *waits) = nullptr;
    void *waits = nullptr;
    std::coroutine_handle<> resume;
    std::coroutine_handle<> frame;
    int32_t status = SPARGIO_PENDING; /**< what the poll function returns next */
    std::atomic<uint32_t> owners{0};  /**< the runtime, and the join handle if there is one */
    spargio_runtime runtime = 0;
    spargio_join join = 0;
    std::exception_ptr error;
    /** The scope that it belongs to, and its neighbours there: under the scope's lock. */
    async_scope *scope = nullptr;
    root *previous = nullptr;
    root *next = nullptr;

    static int32_t poll(void *ctx, int64_t *) {
        root &self = *static_cast<root *>(ctx);
        if (self.ask != nullptr) {
            if (self.ask(self.waits) == SPARGIO_PENDING) return SPARGIO_PENDING;
            self.ask = nullptr;
        }
        self.status = SPARGIO_PENDING;
        self.resume.resume();
        return self.status;
    }

    /** One owner less; the last one frees the frame. */
    void leave() {
        // Acquire-release: the last owner sees all that the others wrote.
        if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) frame.destroy();
    }

    static void drop(void *ctx) { static_cast<root *>(ctx)->leave(); }

    void wait(int32_t (*question)(void *), void *about, std::coroutine_handle<> then) {
        ask = question;
        waits = about;
        resume = then;
    }
};

struct promise_base {
    root own;
    root *at = &own; /**< of the coroutine that was spawned */
    std::coroutine_handle<> continuation;

    struct final_awaiter {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept {
            promise_base &self = ended.promise();
            if (self.continuation) return self.continuation;
            self.own.status = SPARGIO_READY;
            return std::noop_coroutine();
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter final_suspend() const noexcept { return {}; }
    void unhandled_exception() noexcept { own.error = std::current_exception(); }
};

template <class T> struct promise : promise_base {
    std::optional<T> value;

    task<T> get_return_object() noexcept;
    template <class U = T> void return_value(U &&from) { value.emplace(std::forward<U>(from)); }
    T take() {
        if (own.error) std::rethrow_exception(std::exchange(own.error, nullptr));
        return *std::move(value);
    }
};

template <> struct promise<void> : promise_base {
    task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
    void take() {
        if (own.error) std::rethrow_exception(std::exchange(own.error, nullptr));
    }
};

/** The root of a coroutine that awaits something of ours. */
template <class Promise> root &root_of(std::coroutine_handle<Promise> waiting) {
    static_assert(std::is_base_of_v<promise_base, Promise>,
                  "only a spargio::task can await what spargio offers");
    return *waiting.promise().at;
}

} // namespace detail

/**
 * A coroutine's result to come. Nothing runs before `co_await`, spawn or run; what is thrown in it
 * comes out there. It owns the coroutine's frame, which is all the memory that it needs.
 */
template <class T> class [[nodiscard]] task {
public:
    using promise_type = detail::promise<T>;
    using value_type = T;

    task(task &&other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    task &operator=(task &&other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~task() {
        if (frame_) frame_.destroy();
    }

    auto operator co_await() && noexcept { return awaiter{frame_}; }

    std::coroutine_handle<promise_type> native_handle() const noexcept { return frame_; }

    /** For those who start it by other means: the frame is theirs from now on. */
    std::coroutine_handle<promise_type> release() noexcept {
        return std::exchange(frame_, nullptr);
    }

private:
    friend promise_type;

    struct awaiter {
        std::coroutine_handle<promise_type> frame;

        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
            frame.promise().at = &detail::root_of(waiting);
            frame.promise().continuation = waiting;
            return frame;
        }
        T await_resume() { return frame.promise().take(); }
    };

    explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

    std::coroutine_handle<promise_type> frame_;
};

namespace detail {

template <class T> task<T> promise<T>::get_return_object() noexcept {
    return task<T>(std::coroutine_handle<promise<T>>::from_promise(*this));
}

inline task<void> promise<void>::get_return_object() noexcept {
    return task<void>(std::coroutine_handle<promise<void>>::from_promise(*this));
}

} // namespace detail

/** Inside a task: whether its cancellation was asked for. */
inline bool stop_requested() noexcept { return spargio_task_cancelled() == 1; }

} // namespace spargio

#endif
