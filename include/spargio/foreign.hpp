/*
 * Awaitables of other libraries inside a task<T>: whoever resumes them, the task goes on where it
 * was.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_FOREIGN_HPP
#define SPARGIO_FOREIGN_HPP

#include <atomic>
#include <coroutine>
#include <exception>
#include <utility>

#include "../spargio.h"
#include "result.hpp"

namespace spargio {

namespace detail {

struct root;
template <class Promise> root &root_of(std::coroutine_handle<Promise> waiting);

/** What other threads and the waiting task share. */
struct handover {
    std::atomic<bool> over{false};
    spargio_task task = 0;
    std::exception_ptr error;

    /**
     * The last thing that the other side does: all of this may be gone when `over` is set. A
     * function of its own, so that nothing of it lies in a coroutine's frame.
     */
    [[gnu::noinline]] static void end(handover &self) noexcept {
        spargio_task waiting = self.task;
        // Release: pairs with the acquire in `ask`.
        self.over.store(true, std::memory_order_release);
        spargio_task_wake(waiting);
    }

    static int32_t ask(void *self) noexcept {
        return static_cast<handover *>(self)->over.load(std::memory_order_acquire)
                   ? SPARGIO_READY
                   : SPARGIO_PENDING;
    }
};

/** What the other library knows, and resumes on whatever thread: a coroutine that wakes us. */
struct bridge {
    struct promise_type {
        handover &over;

        template <class Awaiter> promise_type(Awaiter &, handover &to) noexcept : over(to) {}
        bridge get_return_object() noexcept {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        auto final_suspend() const noexcept {
            struct last {
                bool await_ready() const noexcept { return false; }
                void await_suspend(std::coroutine_handle<promise_type> done) const noexcept {
                    handover::end(done.promise().over);
                }
                void await_resume() const noexcept {}
            };
            return last{};
        }
        void return_void() const noexcept {}
        void unhandled_exception() noexcept { over.error = std::current_exception(); }
    };

    std::coroutine_handle<promise_type> frame;

    /** Waits, and leaves the result where it is: the task takes it. */
    template <class Awaiter> static bridge over(Awaiter &to, handover &) {
        struct waiting {
            Awaiter &to;
            bool await_ready() const noexcept { return false; }
            auto await_suspend(std::coroutine_handle<promise_type> mine) {
                return to.await_suspend(mine);
            }
            void await_resume() const noexcept {}
        };
        co_await waiting{to};
    }
};

template <class T>
concept has_member_await =
    requires(T &&from) { static_cast<T &&>(from).operator co_await(); };
template <class T>
concept has_free_await =
    requires(T &&from) { operator co_await(static_cast<T &&>(from)); };

template <class T> decltype(auto) awaiter_of(T &&from) {
    if constexpr (has_member_await<T>) return static_cast<T &&>(from).operator co_await();
    else if constexpr (has_free_await<T>) return operator co_await(static_cast<T &&>(from));
    else return static_cast<T &&>(from);
}

/** The await of something that is not spargio's. A cancellation of the task does not end it. */
template <class T> class [[nodiscard]] foreign {
    using awaiter = decltype(awaiter_of(std::declval<T>()));
    static constexpr bool is_known = requires(awaiter &to) {
        to.await_ready();
        to.await_suspend(std::coroutine_handle<bridge::promise_type>());
        to.await_resume();
    };
    static_assert(is_known, "a spargio::task can await only what spargio offers, and awaitables "
                            "that any std::coroutine_handle<> can wait for");

public:
    explicit foreign(T &&from) : to_(awaiter_of(static_cast<T &&>(from))) {}
    foreign(const foreign &) = delete;
    foreign &operator=(const foreign &) = delete;
    ~foreign() {
        if (frame_) frame_.destroy();
    }

    bool await_ready() { return static_cast<bool>(to_.await_ready()); }

    template <class Promise> bool await_suspend(std::coroutine_handle<Promise> waiting) {
        if (spargio_task_self(&handover_.task) != SPARGIO_OK)
            raise(make_error_code(errc::no_memory));
        frame_ = bridge::over(to_, handover_).frame;
        frame_.resume();
        // It may be over by now, on this thread or another. No poll comes before this returns.
        if (handover::ask(&handover_) == SPARGIO_READY) return false;
        root_of(waiting).wait(handover::ask, &handover_, waiting);
        return true;
    }

    decltype(auto) await_resume() {
        if (handover_.error) std::rethrow_exception(handover_.error);
        return to_.await_resume();
    }

private:
    awaiter to_;
    handover handover_;
    std::coroutine_handle<bridge::promise_type> frame_;
};

} // namespace detail

} // namespace spargio

#endif
