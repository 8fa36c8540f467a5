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

#include "foreign.hpp"
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

template <class T> class referenced;

/**
 * What a coroutine that waits knows of an object that somebody may move, or let go, meanwhile. It
 * stays where it is once it refers to one; the first of several follows the moves.
 */
template <class T> class reference {
public:
    reference() = default;
    explicit reference(T &to) noexcept : to_(&to) {}

    T *get() const noexcept { return to_; }

    /** From now on it follows. */
    void follow() noexcept {
        if (to_->follower_ == nullptr) to_->follower_ = this;
        else to_ = nullptr;
    }

    /** Where it is now; null: it is gone. It does not follow any more. */
    T *settle() noexcept {
        if (to_ != nullptr && to_->follower_ == this) to_->follower_ = nullptr;
        return to_;
    }

private:
    friend class referenced<T>;
    T *to_ = nullptr;
};

/** The base of such objects. */
template <class T> class referenced {
public:
    referenced() = default;
    referenced(referenced &&other) noexcept : follower_(std::exchange(other.follower_, nullptr)) {
        point(static_cast<T *>(this));
    }
    referenced &operator=(referenced &&other) noexcept {
        std::swap(follower_, other.follower_);
        point(static_cast<T *>(this));
        other.point(static_cast<T *>(&other));
        return *this;
    }
    ~referenced() { point(nullptr); }

private:
    friend class reference<T>;
    void point(T *to) noexcept {
        if (follower_ != nullptr) follower_->to_ = to;
    }

    reference<T> *follower_ = nullptr;
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

    /** What spargio offers has `awaited_by_task`, and knows the root. Others resume all else. */
    template <class Awaitable> decltype(auto) await_transform(Awaitable &&from) {
        if constexpr (requires { typename std::remove_cvref_t<Awaitable>::awaited_by_task; })
            return static_cast<Awaitable &&>(from);
        else return foreign<Awaitable>(static_cast<Awaitable &&>(from));
    }
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

/** The root of a coroutine that awaits a spargio awaitable. */
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
    using awaited_by_task = void;
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
