/*
 * channel<T, Capacity>: a queue between tasks, on whatever shards, and ordinary threads.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_CHANNEL_HPP
#define SPARGIO_CHANNEL_HPP

#include <cstddef>
#include <mutex>

#include "task.hpp"

namespace spargio {

/**
 * At most `Capacity` values, which lie in the channel itself. Waiters are served in the order of
 * coming; what was sent is received once, in that order. Any thread, any number of senders and
 * receivers. It must outlive its waiters. T's move must not throw.
 */
template <class T, std::size_t Capacity> class channel {
    static_assert(Capacity > 0, "a channel holds at least one value");
    static_assert(std::is_nothrow_move_constructible_v<T>, "moved under a lock");

    /** A task that waits; in its frame. */
    struct waiter {
        std::optional<T> value; /**< to be sent, or received */
        spargio_task task = 0;
        waiter *next = nullptr;
        enum { waiting, served, refused } state = waiting;
    };

    /** In the order of coming. */
    struct line {
        waiter *first = nullptr, **last = &first;

        void push(waiter &who) {
            who.next = nullptr;
            *last = &who;
            last = &who.next;
        }
        waiter *pop() {
            waiter *who = first;
            if (who == nullptr) return nullptr;
            first = who->next;
            if (first == nullptr) last = &first;
            return who;
        }
        void remove(waiter &who) {
            waiter **at = &first;
            while (*at != &who) at = &(*at)->next;
            *at = who.next;
            if (*at == nullptr) last = at;
        }
    };

    /** Wakes a task when the lock is free again. */
    struct waking {
        spargio_task task = 0;
        ~waking() {
            if (task != 0) spargio_task_wake(task);
        }
        void serve(waiter &who) {
            who.state = waiter::served;
            task = who.task;
        }
    };

    template <bool Sends> class [[nodiscard]] wait {
    public:
        using awaited_by_task = void;

        explicit wait(channel &in) noexcept : in_(in) {}
        wait(channel &in, T value) noexcept : in_(in) { self_.value.emplace(std::move(value)); }

        bool await_ready() const noexcept { return false; }
        template <class Promise> bool await_suspend(std::coroutine_handle<Promise> waiting) {
            waking woken;
            std::lock_guard guard(in_.lock_);
            if (stop_requested()) return cancelled_ = true, false;
            if (in_.template attempt<Sends>(self_, woken)) return false;
            if (spargio_task_self(&self_.task) != SPARGIO_OK) {
                self_.state = waiter::refused;
                return false;
            }
            in_.template line_of<Sends>().push(self_);
            detail::root_of(waiting).wait(ask, this, waiting);
            return true;
        }
        auto await_resume() {
            using value = std::conditional_t<Sends, void, T>;
            if (cancelled_) return result<value>(failure(errc::cancelled));
            if (self_.state == waiter::refused) return result<value>(failure(errc::closed));
            if constexpr (Sends) return result<value>();
            else return result<value>(*std::move(self_.value));
        }

    private:
        /** A cancellation that comes when the value was handed over comes too late. */
        static int32_t ask(void *self_) {
            wait &self = *static_cast<wait *>(self_);
            std::lock_guard guard(self.in_.lock_);
            if (self.self_.state != waiter::waiting) return SPARGIO_READY;
            if (!stop_requested()) return SPARGIO_PENDING;
            self.in_.template line_of<Sends>().remove(self.self_);
            self.cancelled_ = true;
            return SPARGIO_READY;
        }

        channel &in_;
        waiter self_;
        bool cancelled_ = false;
    };

public:
    channel() = default;
    channel(const channel &) = delete;
    channel &operator=(const channel &) = delete;
    ~channel() {
        while (count_ > 0) (void)take();
    }

    /** `co_await`: waits for room. errc::closed, errc::cancelled: the value was not sent. */
    auto send(T value) { return wait<true>(*this, std::move(value)); }

    /** `co_await`: waits for a value. errc::closed: the channel is closed and empty. */
    auto receive() { return wait<false>(*this); }

    /** Any thread; never waits. errc::overloaded: it is full. errc::closed. */
    result<void> try_send(T value) {
        waiter self;
        self.value.emplace(std::move(value));
        return tried<true>(self) ? outcome(self) : failure(errc::overloaded);
    }

    /** Any thread; never waits. errc::overloaded: it is empty. errc::closed: and stays so. */
    result<T> try_receive() {
        waiter self;
        if (!tried<false>(self)) return failure(errc::overloaded);
        if (self.state == waiter::refused) return failure(errc::closed);
        return *std::move(self.value);
    }

    /**
     * For those who send: no send begins from now on. Receivers get what is there, and what waits
     * for room, then errc::closed. Any thread.
     */
    void finish() {
        std::lock_guard guard(lock_);
        finished_ = true;
        refuse(receivers_); // If some wait, there is nothing.
    }

    /** For those who receive: no more is received. What is there is dropped; all that wait are
     * refused. Any thread. */
    void close() {
        std::lock_guard guard(lock_);
        finished_ = true;
        refuse(senders_);
        refuse(receivers_);
        while (count_ > 0) (void)take();
    }

private:
    static result<void> outcome(const waiter &self) {
        if (self.state == waiter::refused) return failure(errc::closed);
        return {};
    }

    template <bool Sends> bool tried(waiter &self) {
        waking woken;
        std::lock_guard guard(lock_);
        return attempt<Sends>(self, woken);
    }

    template <bool Sends> line &line_of() noexcept {
        if constexpr (Sends) return senders_;
        else return receivers_;
    }

    /** Under the lock, as all that follows. False: it has to wait. */
    template <bool Sends> bool attempt(waiter &self, waking &woken) {
        if constexpr (Sends) return put(self, woken);
        else return get(self, woken);
    }

    bool put(waiter &self, waking &woken) {
        if (finished_) {
            self.state = waiter::refused;
        } else if (waiter *receiver = receivers_.pop()) {
            receiver->value.emplace(*std::move(self.value));
            woken.serve(*receiver);
        } else if (count_ < Capacity) {
            store(*std::move(self.value));
        } else return false;
        return true;
    }

    bool get(waiter &self, waking &woken) {
        if (count_ > 0) {
            self.value.emplace(take());
            if (waiter *sender = senders_.pop()) {
                store(*std::move(sender->value));
                woken.serve(*sender);
            }
        } else if (finished_) {
            self.state = waiter::refused;
        } else return false;
        return true;
    }

    static void refuse(line &all) {
        while (waiter *who = all.pop()) {
            // Its frame may be gone as soon as the lock is free.
            who->state = waiter::refused;
            spargio_task_wake(who->task);
        }
    }

    T *place(std::size_t index) noexcept {
        return reinterpret_cast<T *>(places_) + index % Capacity;
    }
    void store(T value) noexcept {
        ::new (static_cast<void *>(place(head_ + count_++))) T(std::move(value));
    }
    T take() noexcept {
        T *at = place(head_);
        T value(std::move(*at));
        at->~T();
        head_ = (head_ + 1) % Capacity;
        count_--;
        return value;
    }

    std::mutex lock_;
    line senders_, receivers_;
    bool finished_ = false;
    std::size_t head_ = 0, count_ = 0;
    alignas(T) unsigned char places_[sizeof(T) * Capacity];
};

} // namespace spargio

#endif
