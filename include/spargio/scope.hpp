/*
 * Structured concurrency: async_scope, and what is made of it. Whatever is started in a scope has
 * ended, and its memory is free, when the scope ends.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_SCOPE_HPP
#define SPARGIO_SCOPE_HPP

#include <mutex>
#include <stop_token>
#include <tuple>
#include <vector>

#include "operation.hpp"
#include "runtime.hpp"

namespace spargio {

/**
 * Holds tasks. The first one that throws stops the others, and join() throws it again;
 * cancelled_error is no error of a scope that was stopped. Mostly made by with_scope(); one that is
 * a member of something longer lived has to be joined before it goes away, else the program is
 * terminated.
 */
class async_scope {
public:
    explicit async_scope(spargio_runtime runtime) noexcept : runtime_(runtime) {}
    explicit async_scope(const runtime &runtime) noexcept : async_scope(runtime.native_handle()) {}
    /** For with_scope() and its kin: in the task that waits for it. */
    explicit async_scope(const detail::root &owner) noexcept
        : runtime_(owner.runtime), owner_(&owner) {}
    async_scope(const async_scope &) = delete;
    async_scope &operator=(const async_scope &) = delete;
    ~async_scope() {
        if (count_ != 0) std::terminate();
    }

    /**
     * Starts a task; any thread, tasks of the scope included. In a scope that was stopped it begins
     * cancelled. An error means that the runtime accepts no more; then the task never runs.
     */
    result<void> spawn(task<void> work, placement where = here) {
        int32_t status = attempt(work, where);
        if (status != SPARGIO_OK) return failure(status);
        return {};
    }

    /**
     * Inside a task, for servers: the same, and if the shards' queues are full (errc::overloaded)
     * it waits for room.
     */
    task<result<void>> spawn_wait(task<void> work, placement where = stealable) {
        for (;;) {
            int32_t status = attempt(work, where);
            if (status == SPARGIO_OK) co_return result<void>();
            if (status != SPARGIO_E_OVERLOADED) co_return failure(status);
            spargio_placement to = detail::placed(where);
            result<void> room = co_await op<void>(
                [&](spargio_op *handle) { return spargio_room(runtime_, &to, handle); });
            if (!room) co_return room;
        }
    }

    /** The same, and an error stops the scope and comes out of join(). */
    void spawn_or_fail(task<void> work, placement where = here) {
        result<void> spawned = spawn(std::move(work), where);
        if (spawned) return;
        std::lock_guard guard(lock_);
        if (!error_) error_ = std::make_exception_ptr(std::system_error(spawned.error()));
        stop();
    }

    /** Cancels every task in it, also those that come later. Any thread. */
    void request_stop() noexcept {
        std::lock_guard guard(lock_);
        stop();
    }

    bool stop_requested() const noexcept { return stopped_.load(std::memory_order_relaxed); }

    /** Tasks that have not ended. */
    std::size_t size() const noexcept {
        std::lock_guard guard(lock_);
        return count_;
    }

    /**
     * Inside a task: waits until none is left; throws the first error, to one of those that wait. A
     * cancellation of an awaiting task stops the scope; the wait goes on until all have ended. In
     * one of the scope's own tasks, or in what those wait for, it would never end:
     * std::errc::resource_deadlock_would_occur is thrown.
     */
    task<void> join() {
        // Not in the condition: gcc 12 never begins a coroutine that opens so.
        const drain::outcome how = co_await drain(*this);
        if (how == drain::never)
            raise(std::make_error_code(std::errc::resource_deadlock_would_occur));
        rethrow();
    }

    /** The wait alone. After `limit_ns` the scope is stopped. */
    class drain {
    public:
        using awaited_by_task = void;
        enum outcome { ended, expired, never };

        explicit drain(async_scope &scope, uint64_t limit_ns = SPARGIO_FOREVER,
                       bool shielded = false) noexcept
            : scope_(scope), limit_ns_(limit_ns), shielded_(shielded) {}

        bool await_ready() const noexcept { return false; }
        template <class Promise> bool await_suspend(std::coroutine_handle<Promise> waiting) {
            if (scope_.holds(detail::root_of(waiting))) {
                outcome_ = never;
                return false;
            }
            {
                std::lock_guard guard(scope_.lock_);
                // No timer either: nobody would end it before its time.
                if (scope_.count_ == 0) return false;
                // Without memory for a handle or a timer nobody would wake it.
                if (spargio_task_self(&task_) != SPARGIO_OK) std::terminate();
                next_ = scope_.waiters_;
                scope_.waiters_ = this;
                // One that was cancelled before is not told again.
                if (!shielded_ && spargio::stop_requested()) scope_.stop();
            }
            if (limit_ns_ != SPARGIO_FOREVER && spargio_sleep(limit_ns_, &timer_) != SPARGIO_OK)
                std::terminate();
            detail::root_of(waiting).wait(ask, this, waiting);
            return true;
        }
        outcome await_resume() const noexcept { return outcome_; }

    private:
        friend class async_scope;

        static int32_t ask(void *self) { return static_cast<drain *>(self)->look(); }

        int32_t look() {
            if (timer_ != 0) look_at_timer();
            if (!shielded_ && !scope_.stop_requested() && spargio::stop_requested())
                scope_.request_stop();
            if (timer_ == 0) return leave() ? SPARGIO_READY : SPARGIO_PENDING;
            if (scope_.size() == 0) spargio_op_cancel(timer_);
            return SPARGIO_PENDING;
        }

        /** Once none is left. */
        bool leave() noexcept {
            std::lock_guard guard(scope_.lock_);
            if (scope_.count_ != 0) return false;
            drain **at = &scope_.waiters_;
            while (*at != this) at = &(*at)->next_;
            *at = next_;
            return true;
        }

        void look_at_timer() {
            int32_t value = 0;
            if (spargio_op_poll(timer_, &value) == SPARGIO_PENDING) return;
            timer_ = 0;
            if (value != 0 || scope_.size() == 0) return;
            outcome_ = expired;
            scope_.request_stop();
        }

        async_scope &scope_;
        uint64_t limit_ns_;
        bool shielded_;
        outcome outcome_ = ended;
        spargio_op timer_ = 0;
        spargio_task task_ = 0;
        drain *next_ = nullptr; /**< of those that wait, under the scope's lock */
    };

    /** Throws the first error of a task, once. */
    void rethrow() {
        std::exception_ptr error;
        {
            std::lock_guard guard(lock_);
            error = std::exchange(error_, nullptr);
        }
        if (error) std::rethrow_exception(error);
    }

private:
    /** After an error the task is still the caller's. */
    int32_t attempt(task<void> &work, placement where) {
        detail::root &own = work.native_handle().promise().own;
        own.scope = this;
        // Under the lock, because the task may end before this function does.
        std::lock_guard guard(lock_);
        int32_t status = detail::launch(own, work.native_handle(), runtime_, where, on_end);
        if (status == SPARGIO_OK) {
            link(own);
            (void)work.release();
        }
        return status;
    }

    void link(detail::root &own) noexcept {
        own.next = first_;
        if (first_ != nullptr) first_->previous = &own;
        first_ = &own;
        count_++;
        if (stopped_.load(std::memory_order_relaxed)) spargio_join_cancel(own.join);
    }

    void unlink(detail::root &own) noexcept {
        (own.previous != nullptr ? own.previous->next : first_) = own.next;
        if (own.next != nullptr) own.next->previous = own.previous;
    }

    /** Under the lock. */
    void stop() noexcept {
        stopped_.store(true, std::memory_order_relaxed);
        for (detail::root *each = first_; each != nullptr; each = each->next)
            spargio_join_cancel(each->join);
    }

    /** Called by the runtime when it is done with a task. */
    static void on_end(void *ctx) {
        detail::root &own = *static_cast<detail::root *>(ctx);
        async_scope &scope = *own.scope;
        std::exception_ptr error = std::move(own.error);
        {
            std::lock_guard guard(scope.lock_);
            scope.unlink(own);
            if (error && scope.is_failure(error)) {
                scope.error_ = std::move(error);
                scope.stop();
            }
        }
        spargio_join_release(own.join);
        own.frame.destroy();
        // Not before the frame is gone. When the lock is free the scope may be gone too.
        std::lock_guard guard(scope.lock_);
        if (--scope.count_ != 0) return;
        for (drain *each = scope.waiters_; each != nullptr; each = each->next_)
            spargio_task_wake(each->task_);
    }

    /** Whether that task is one of the scope's, or of a scope that one of them waits for. */
    bool holds(const detail::root &task) const noexcept {
        for (const detail::root *at = &task; at != nullptr && at->scope != nullptr;
             at = at->scope->owner_) {
            if (at->scope == this) return true;
        }
        return false;
    }

    bool is_failure([[maybe_unused]] const std::exception_ptr &error) const {
#if defined(__cpp_exceptions)
        if (error_) return false;
        if (!stop_requested()) return true;
        try {
            std::rethrow_exception(error);
        } catch (const cancelled_error &) {
            return false;
        } catch (...) {}
#endif
        return true;
    }

    mutable std::mutex lock_;
    detail::root *first_ = nullptr;
    std::size_t count_ = 0; /**< also those that are unlinked, and whose frame is being freed */
    std::exception_ptr error_;
    std::atomic<bool> stopped_{false};
    drain *waiters_ = nullptr;
    spargio_runtime runtime_;
    const detail::root *owner_ = nullptr;
};

namespace detail {

/** The root of the awaiting task: `const root &own = co_await own_root{};` */
struct own_root {
    using awaited_by_task = void;
    const root *found = nullptr;

    bool await_ready() const noexcept { return false; }
    template <class Promise> bool await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        found = &root_of(waiting);
        return false;
    }
    const root &await_resume() const noexcept { return *found; }
};

/** Where a task of a scope leaves its result for the task that waits for the scope. */
template <class T> struct slot {
    std::optional<T> value;

    bool filled() const noexcept { return value.has_value(); }
    T take() {
        if (!value) raise(make_error_code(errc::cancelled));
        return *std::move(value);
    }
};

template <> struct slot<void> {
    bool value = false;

    bool filled() const noexcept { return value; }
    void take() const {
        if (!value) raise(make_error_code(errc::cancelled));
    }
};

template <class T> task<void> fill(task<T> work, slot<T> &into) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(work);
        into.value = true;
    } else into.value.emplace(co_await std::move(work));
}

template <class T> void begin(async_scope &scope, task<T> work, slot<T> &into) {
    scope.spawn_or_fail(fill(std::move(work), into));
}

template <class T> T finish(async_scope &scope, slot<T> &from) {
    scope.rethrow();
    return from.take();
}

} // namespace detail

/**
 * Calls `body` with a scope and returns what its task returns, when all tasks of the scope have
 * ended:
 *
 *     co_await with_scope([&](async_scope &scope) -> task<> {
 *         while (auto client = co_await clients.next())
 *             (void)scope.spawn(serve(std::move(*client)));
 *     });
 *
 * The body is one of the scope's tasks: request_stop(), an error of another task, and the
 * cancellation of the awaiting one cancel it too. If it then has no value, cancelled_error is
 * thrown.
 */
template <class Body> auto with_scope(Body body) -> std::invoke_result_t<Body &, async_scope &> {
    using value = typename std::invoke_result_t<Body &, async_scope &>::value_type;
    async_scope scope(co_await detail::own_root{});
    detail::slot<value> made;
    detail::begin(scope, body(scope), made);
    co_await async_scope::drain(scope);
    co_return detail::finish(scope, made);
}

/** Runs a task that may take so long: its value, or errc::timeout once it was cancelled and has
 * ended. */
template <class Rep, class Period, class T>
task<detail::flat_t<T>> timeout(std::chrono::duration<Rep, Period> limit, task<T> work) {
    async_scope scope(co_await detail::own_root{});
    detail::slot<T> made;
    detail::begin(scope, std::move(work), made);
    bool expired = co_await async_scope::drain(scope, detail::nanoseconds(limit)) ==
                   async_scope::drain::expired;
    if constexpr (detail::is_result<T>::value) {
        if (expired && made.filled() && !*made.value &&
            made.value->error() == std::errc::operation_canceled)
            co_return failure(errc::timeout);
    }
    scope.rethrow();
    if (!made.filled()) co_return failure(expired ? errc::timeout : errc::cancelled);
    if constexpr (std::is_void_v<T>) {
        made.take();
        co_return detail::flat_t<T>();
    } else co_return made.take();
}

/** The same for a single operation, without a task of its own. */
template <class Rep, class Period, class T, class Start>
auto timeout(std::chrono::duration<Rep, Period> limit, operation<T, Start> one) {
    return std::move(one).within(limit);
}

/** Runs a task that is cancelled when the token is asked to stop, by whatever thread. */
template <class T> task<T> with_stop(std::stop_token token, task<T> work) {
    async_scope scope(co_await detail::own_root{});
    detail::slot<T> made;
    detail::begin(scope, std::move(work), made);
    {
        std::stop_callback stop(token, [&scope]() noexcept { scope.request_stop(); });
        co_await async_scope::drain(scope);
    }
    co_return detail::finish(scope, made);
}

/** Runs a task that the cancellation of the awaiting one does not reach: a clean-up that has to
 * happen. */
template <class T> task<T> shield(task<T> work) {
    async_scope scope(co_await detail::own_root{});
    detail::slot<T> made;
    detail::begin(scope, std::move(work), made);
    co_await async_scope::drain(scope, SPARGIO_FOREVER, true);
    co_return detail::finish(scope, made);
}

namespace detail {

/** The value of a slot in a tuple or variant, which hold no void. */
template <class T> using held = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T> held<T> take_held(slot<T> &from) {
    if constexpr (std::is_void_v<T>) {
        from.take();
        return {};
    } else return from.take();
}

/** Which of several tasks ended first, whether with a value or an exception; it stops the others.
 */
struct race {
    static constexpr std::size_t open = SIZE_MAX;
    std::size_t winner = open;

    template <class T>
    task<void> run(async_scope &scope, std::size_t index, task<T> work, slot<T> &into) {
        struct crossing {
            race &self;
            async_scope &scope;
            std::size_t index;
            ~crossing() {
                if (self.winner != open) return;
                self.winner = index;
                scope.request_stop();
            }
        } line{*this, scope, index};
#if defined(__cpp_exceptions)
        try {
            co_await fill(std::move(work), into);
        } catch (...) {
            if (winner == open) throw; // What a loser throws is nobody's.
        }
#else
        co_await fill(std::move(work), into);
#endif
    }

    /** None, if all were cancelled before they began. */
    std::size_t first() const {
        if (winner == open) raise(make_error_code(errc::cancelled));
        return winner;
    }
};

} // namespace detail

/**
 * Runs tasks on the shard of the awaiting one and returns a tuple of their values, void as
 * std::monostate. The first exception cancels the others, and is thrown when they have ended.
 */
template <class... T> task<std::tuple<detail::held<T>...>> when_all(task<T>... work) {
    async_scope scope(co_await detail::own_root{});
    std::tuple<detail::slot<T>...> made;
    std::apply([&](auto &...into) { (detail::begin(scope, std::move(work), into), ...); }, made);
    co_await async_scope::drain(scope);
    scope.rethrow();
    co_return std::apply(
        [](auto &...from) { return std::tuple<detail::held<T>...>{detail::take_held(from)...}; },
        made);
}

/** The same for any number of equal tasks. The two vectors are memory beside the frames. */
template <class T> task<std::vector<detail::held<T>>> when_all(std::vector<task<T>> work) {
    async_scope scope(co_await detail::own_root{});
    std::vector<detail::slot<T>> made(work.size());
    for (std::size_t i = 0; i < work.size(); i++) detail::begin(scope, std::move(work[i]), made[i]);
    co_await async_scope::drain(scope);
    scope.rethrow();
    std::vector<detail::held<T>> values;
    values.reserve(made.size());
    for (auto &from : made) values.push_back(detail::take_held(from));
    co_return values;
}

/**
 * Runs tasks on the shard of the awaiting one until the first has ended, cancels the others and
 * waits for their end. Returns its value in a variant whose index() says which it was, or throws
 * what it threw.
 */
template <class... T> task<std::variant<detail::held<T>...>> when_any(task<T>... work) {
    static_assert(sizeof...(T) > 0);
    async_scope scope(co_await detail::own_root{});
    std::tuple<detail::slot<T>...> made;
    detail::race race;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (scope.spawn_or_fail(race.run(scope, I, std::move(work), std::get<I>(made))), ...);
    }(std::index_sequence_for<T...>());
    co_await async_scope::drain(scope);
    scope.rethrow();
    std::optional<std::variant<detail::held<T>...>> first;
    const std::size_t winner = race.first();
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        ((I == winner
              ? void(first.emplace(std::in_place_index<I>, detail::take_held(std::get<I>(made))))
              : void()),
         ...);
    }(std::index_sequence_for<T...>());
    co_return std::move(*first);
}

/** The same for any number of equal tasks, at least one: the place of the first, and its value. */
template <class T>
task<std::pair<std::size_t, detail::held<T>>> when_any(std::vector<task<T>> work) {
    if (work.empty()) raise(make_error_code(errc::invalid));
    async_scope scope(co_await detail::own_root{});
    std::vector<detail::slot<T>> made(work.size());
    detail::race race;
    for (std::size_t i = 0; i < work.size(); i++)
        scope.spawn_or_fail(race.run(scope, i, std::move(work[i]), made[i]));
    co_await async_scope::drain(scope);
    scope.rethrow();
    const std::size_t winner = race.first();
    co_return {winner, detail::take_held(made[winner])};
}

} // namespace spargio

#endif
