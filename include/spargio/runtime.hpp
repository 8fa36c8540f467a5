/*
 * The runtime, where tasks are placed, and the handle of one that was spawned.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_RUNTIME_HPP
#define SPARGIO_RUNTIME_HPP

#include "task.hpp"

namespace spargio {

/** Where a task begins. It stays on the shard that begins it. */
struct placement {
    uint32_t kind;
    uint64_t value;
};

/** The shard that spawns; tasks there never run at the same time, so they share data without locks.
 */
inline constexpr placement here{UINT32_MAX, 0};
/** The next shard in turn; others may take it over before it begins. */
inline constexpr placement stealable{SPARGIO_PLACE_STEALABLE, 0};
inline constexpr placement round_robin{SPARGIO_PLACE_ROUND_ROBIN, 0};
constexpr placement pinned(uint32_t shard) { return {SPARGIO_PLACE_PINNED, shard}; }
/** Equal keys, equal shards. */
constexpr placement sticky(uint64_t key) { return {SPARGIO_PLACE_STICKY, key}; }
/** As stealable, but for the shard that is tried first. */
constexpr placement preferred(uint32_t shard) { return {SPARGIO_PLACE_STEALABLE_PREFERRED, shard}; }

/** The options of the C interface with their defaults: `options o; o.shards = 2;` */
struct options : spargio_runtime_options {
    options() noexcept {
        spargio_runtime_options_init(static_cast<spargio_runtime_options *>(this));
    }
};

namespace detail {

/** `here` outside a task is `stealable`. */
inline spargio_placement placed(placement where) noexcept {
    spargio_placement to{sizeof to, where.kind, where.value};
    uint32_t shard = 0;
    if (where.kind != here.kind) return to;
    if (spargio_current_shard(&shard) == SPARGIO_OK)
        to.kind = SPARGIO_PLACE_PINNED, to.value = shard;
    else to.kind = SPARGIO_PLACE_STEALABLE;
    return to;
}

/** Hands a coroutine to the runtime. After an error it is still the caller's. */
inline int32_t launch(root &self, std::coroutine_handle<> frame, spargio_runtime runtime,
                      placement where, spargio_drop_fn drop) {
    spargio_placement to = placed(where);
    self.frame = self.resume = frame;
    self.runtime = runtime;
    return spargio_spawn_owned(runtime, &to, root::poll, &self, drop, &self.join);
}

template <class T>
result<join_handle<T>> spawn_in(spargio_runtime runtime, task<T> work, placement where);

} // namespace detail

/**
 * A task that was spawned. Moving it is cheap; when it goes away the task goes on. Its result can
 * be taken once.
 */
template <class T>
class [[nodiscard]] join_handle : private detail::referenced<join_handle<T>> {
    using referenced = detail::referenced<join_handle<T>>;

public:
    using awaited_by_task = void;

    join_handle() = default;
    join_handle(join_handle &&other) noexcept
        : referenced(std::move(other)), frame_(std::exchange(other.frame_, nullptr)) {}
    join_handle &operator=(join_handle &&other) noexcept {
        referenced::operator=(std::move(other));
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~join_handle() { release(); }

    explicit operator bool() const noexcept { return frame_ != nullptr; }

    /** Asks the task to end. Any thread; more than once is like once. */
    void request_stop() const noexcept {
        if (frame_) spargio_join_cancel(own().join);
    }

    /**
     * On an ordinary thread: waits for the end and takes the result. errc::timeout: not yet, wait
     * again. errc::cancelled: the task was cancelled before it began. Throws what the task threw.
     */
    detail::flat_t<T> wait(uint64_t timeout_ns = SPARGIO_FOREVER) {
        if (!frame_) return failure(errc::closed);
        int32_t status = spargio_join_wait(own().join, timeout_ns, nullptr);
        return status == SPARGIO_E_TIMEOUT || status == SPARGIO_E_ON_SHARD ? failure(status)
                                                                           : take(status);
    }

    /** The same without a time limit; errors are thrown. */
    T get() {
        if constexpr (detail::is_result<T>::value) return wait();
        else return unwrap<T>(wait());
    }

    /**
     * Inside a task: `co_await handle`. If the awaiting task is cancelled this ends with
     * errc::cancelled, and the other task goes on; otherwise as wait(). The handle may be moved
     * meanwhile; errc::closed if it is gone when the other task ends.
     */
    auto operator co_await() noexcept { return awaiter(*this); }

private:
    template <class U>
    friend result<join_handle<U>> detail::spawn_in(spargio_runtime, task<U>, placement);
    friend class detail::reference<join_handle>;
    friend class detail::referenced<join_handle>;
    explicit join_handle(std::coroutine_handle<detail::promise<T>> frame) noexcept
        : frame_(frame) {}

    struct awaiter {
        detail::reference<join_handle> self;
        int32_t status = SPARGIO_PENDING;

        explicit awaiter(join_handle &of) noexcept : self(of) {}

        bool await_ready() noexcept { return ask(this) != SPARGIO_PENDING; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
            self.follow();
            detail::root_of(waiting).wait(ask, this, waiting);
        }
        detail::flat_t<T> await_resume() {
            join_handle *now = self.settle();
            if (status == SPARGIO_PENDING) return failure(errc::cancelled);
            return now != nullptr && now->frame_ ? now->take(status) : failure(errc::closed);
        }
        static int32_t ask(void *at) noexcept {
            awaiter &the = *static_cast<awaiter *>(at);
            join_handle *now = the.self.get();
            int64_t unused = 0;
            if (now == nullptr || !now->frame_) the.status = SPARGIO_E_CLOSED;
            else the.status = spargio_join_poll(now->own().join, &unused);
            return the.status == SPARGIO_PENDING && !stop_requested() ? SPARGIO_PENDING
                                                                      : SPARGIO_READY;
        }
    };

    detail::root &own() const noexcept { return frame_.promise().own; }

    detail::flat_t<T> take(int32_t status) {
        struct last {
            join_handle &self;
            ~last() { self.release(); }
        } last{*this};
        if (status < 0) return failure(status);
        if constexpr (std::is_void_v<T>) {
            frame_.promise().take();
            return {};
        } else return frame_.promise().take();
    }

    void release() noexcept {
        if (!frame_) return;
        spargio_join_release(own().join);
        std::exchange(frame_, nullptr).promise().own.leave();
    }

    std::coroutine_handle<detail::promise<T>> frame_;
};

template <class T>
result<join_handle<T>> detail::spawn_in(spargio_runtime runtime, task<T> work, placement where) {
    root &own = work.native_handle().promise().own;
    own.owners.store(2, std::memory_order_relaxed);
    int32_t status = launch(own, work.native_handle(), runtime, where, root::drop);
    if (status != SPARGIO_OK) return failure(status);
    return join_handle<T>(work.release());
}

/**
 * A runtime: its threads run tasks until it goes away, which cancels what still runs and waits for
 * it. It must not go away inside one of its own tasks.
 */
class runtime {
public:
    /** Throws std::system_error. */
    explicit runtime(const spargio_runtime_options &with = options()) {
        int32_t status = spargio_runtime_start(&with, &handle_);
        if (status != SPARGIO_OK) raise(error_of(status));
    }

    /** The same without exceptions. */
    static result<runtime> start(const spargio_runtime_options &with = options()) {
        spargio_runtime handle = 0;
        int32_t status = spargio_runtime_start(&with, &handle);
        if (status != SPARGIO_OK) return failure(status);
        return runtime(handle);
    }

    runtime(runtime &&other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
    runtime &operator=(runtime &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~runtime() { (void)shutdown(); }

    /** Cancels what runs and waits for it. errc::timeout: some tasks still run; call it again. */
    result<void> shutdown(uint64_t timeout_ns = SPARGIO_FOREVER) noexcept {
        if (handle_ == 0) return {};
        int32_t status = spargio_runtime_shutdown(handle_, timeout_ns);
        if (status != SPARGIO_OK) return failure(status);
        handle_ = 0;
        return {};
    }

    /** Any thread. Throws std::system_error if the runtime accepts no more; then the task never
     * runs. */
    template <class T> join_handle<T> spawn(task<T> work, placement where = stealable) {
        return unwrap(try_spawn(std::move(work), where));
    }

    template <class T> result<join_handle<T>> try_spawn(task<T> work, placement where = stealable) {
        return detail::spawn_in(handle_, std::move(work), where);
    }

    /** On an ordinary thread: spawns, waits, and returns or throws what the task did. */
    template <class T> T run(task<T> work) { return spawn(std::move(work)).get(); }

    /** What the functions of the C interface take. */
    spargio_runtime native_handle() const noexcept { return handle_; }

private:
    explicit runtime(spargio_runtime handle) noexcept : handle_(handle) {}

    spargio_runtime handle_ = 0;
};

namespace detail {

template <class T> struct spawning {
    using awaited_by_task = void;

    task<T> work;
    placement where;
    result<join_handle<T>> spawned = failure(errc::closed);

    bool await_ready() const noexcept { return false; }
    template <class Promise> bool await_suspend(std::coroutine_handle<Promise> waiting) {
        spawned = spawn_in(root_of(waiting).runtime, std::move(work), where);
        return false;
    }
    join_handle<T> await_resume() { return unwrap(std::move(spawned)); }
};

} // namespace detail

/**
 * Inside a task: `auto handle = co_await spawn(work());` starts another one in its runtime. Throws
 * std::system_error if the runtime accepts no more.
 */
template <class T> auto spawn(task<T> work, placement where = here) {
    return detail::spawning<T>{std::move(work), where};
}

} // namespace spargio

#endif
