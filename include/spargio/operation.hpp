/*
 * Operations as awaitables, sleeping, yielding.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_OPERATION_HPP
#define SPARGIO_OPERATION_HPP

#include <chrono>
#include <cstddef>
#include <limits>

#include "task.hpp"

namespace spargio {

namespace detail {

/** Nanoseconds for the C interface: nothing below 0, and what does not fit is forever. */
template <class Rep, class Period>
constexpr uint64_t nanoseconds(std::chrono::duration<Rep, Period> duration) noexcept {
    using limit = std::chrono::duration<double, std::nano>;
    if (duration <= duration.zero()) return 0;
    if (limit(duration).count() >= 9.2e18) return SPARGIO_FOREVER;
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
}

/** spargio_op_poll with both kinds of errors in one number: negative as SPARGIO_E_*. */
inline int32_t ask_operation(spargio_op op, int32_t &value) noexcept {
    int32_t kernel = 0;
    int32_t status = spargio_op_poll(op, &kernel);
    if (status == SPARGIO_PENDING) return SPARGIO_PENDING;
    if (status != SPARGIO_READY) value = status;
    else value = kernel < 0 ? SPARGIO_E_ERRNO(-kernel) : kernel;
    return SPARGIO_READY;
}

/** What a number of the kernel becomes: nothing, a number, or the owner of a descriptor. */
template <class T> T adopt(int32_t value) {
    if constexpr (std::is_void_v<T>) (void)value;
    else if constexpr (std::is_integral_v<T>) return static_cast<T>(value);
    else return T::adopt(value);
}

} // namespace detail

/** What ends an operation early. */
enum class ended_by { limit, cancellation, nothing };

/**
 * One operation of the C interface, started when it is awaited: `co_await` returns result<T>.
 * Memory that it names must live until then. If the task has been cancelled it does not start, and
 * the result is std::errc::operation_canceled; if the cancellation comes while it runs it ends
 * early, with that or with what it reached. (Closing a descriptor always happens.)
 *
 * `Start` is called with a spargio_op*, as the functions of the C interface are; any of them will
 * do: `co_await op<void>([&](spargio_op *op) { return spargio_mkdir(path, 0755, op); })`. If it has
 * a member `finish`, that makes the result from the number: the kernel's, or a negative
 * SPARGIO_E_*.
 */
template <class T, class Start, ended_by By = ended_by::limit> class [[nodiscard]] operation {
public:
    using awaited_by_task = void;

    explicit operation(Start start) : start_(std::move(start)) {}

    /** It is cancelled when it has taken so long, and its error is then errc::timeout. */
    template <class Rep, class Period>
        requires(By == ended_by::limit)
    operation within(std::chrono::duration<Rep, Period> limit) && {
        limit_ns_ = detail::nanoseconds(limit);
        return std::move(*this);
    }

    bool await_ready() const noexcept { return false; }

    template <class Promise> bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        if (By != ended_by::nothing && stop_requested()) value_ = SPARGIO_E_CANCELLED;
        else value_ = start_(&op_);
        if (value_ != SPARGIO_OK) return false;
        if (limit_ns_ != SPARGIO_FOREVER) limit();
        detail::root_of(waiting).wait(ask, this, waiting);
        return true;
    }

    auto await_resume() {
        if constexpr (requires { start_.finish(value_); }) return start_.finish(value_);
        else return plain();
    }

private:
    result<T> plain() {
        if (value_ < 0) return failure(value_);
        if constexpr (std::is_void_v<T>) return {};
        else return detail::adopt<T>(value_);
    }

    static int32_t ask(void *self_) {
        operation &self = *static_cast<operation *>(self_);
        int32_t status = detail::ask_operation(self.op_, self.value_);
        if (self.limit_ns_ != SPARGIO_FOREVER && self.value_ == SPARGIO_E_ERRNO(ETIME))
            self.value_ = SPARGIO_E_TIMEOUT;
        return status;
    }

    /** An operation that cannot be limited for want of memory is one whose time is over. */
    void limit() noexcept {
        if (spargio_op_timeout(op_, limit_ns_) != SPARGIO_OK) spargio_op_cancel(op_);
    }

    Start start_;
    spargio_op op_ = 0;
    uint64_t limit_ns_ = SPARGIO_FOREVER;
    int32_t value_ = 0;
};

namespace detail {

struct yielding {
    using awaited_by_task = void;

    bool await_ready() const noexcept { return false; }
    template <class Promise> void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        root &at = root_of(waiting);
        at.wait(nullptr, nullptr, waiting);
        at.status = SPARGIO_YIELD;
    }
    void await_resume() const noexcept {}
};

/** operation<T> of a lambda. */
template <class T, ended_by By = ended_by::limit, class Start> auto operate(Start start) {
    return operation<T, Start, By>(std::move(start));
}

} // namespace detail

/** The same as a function, for those who have a Start without a name: `op<size_t>([&](auto *o)
 * {...})`. */
template <class T, class Start> auto op(Start start) {
    return detail::operate<T>(std::move(start));
}

/** Sleeps, late by at most 1/16 of the time and 0.26 ms. */
template <class Rep, class Period> auto sleep_for(std::chrono::duration<Rep, Period> duration) {
    uint64_t ns = detail::nanoseconds(duration);
    return detail::operate<void, ended_by::cancellation>(
        [ns](spargio_op *op) { return spargio_sleep(ns, op); });
}

/** Sleeps until then on the steady clock, which is CLOCK_MONOTONIC. */
template <class Duration>
auto sleep_until(std::chrono::time_point<std::chrono::steady_clock, Duration> when) {
    return detail::operate<void, ended_by::cancellation>([when](spargio_op *op) {
        return spargio_sleep(detail::nanoseconds(when - std::chrono::steady_clock::now()), op);
    });
}

/** `co_await yield_now();` lets the other tasks run that are ready now. */
inline auto yield_now() noexcept { return detail::yielding{}; }

/** `co_await poll_events(fd, POLLIN)`: the events that are ready, for descriptors of other
 * libraries. */
inline auto poll_events(int fd, uint32_t events) {
    return detail::operate<uint32_t>([=](spargio_op *op) { return spargio_poll(fd, events, op); });
}

} // namespace spargio

#endif
