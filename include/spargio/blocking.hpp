/*
 * Calls that block, on threads of the runtime; names of hosts; signals of the process.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_BLOCKING_HPP
#define SPARGIO_BLOCKING_HPP

#include <initializer_list>
#include <memory>
#include <netdb.h>

#include "operation.hpp"

namespace spargio {

namespace detail {

/** A function on a thread of the pool, and what came of it. It stays where it is when it starts. */
template <class Function> class offload {
    using value_type = std::invoke_result_t<Function &>;
    using stored = std::conditional_t<std::is_void_v<value_type>, std::monostate, value_type>;

public:
    explicit offload(Function from) : function(std::move(from)) {}

    int32_t operator()(spargio_op *op) { return spargio_blocking(run, this, op); }

    flat_t<value_type> finish(int32_t status) {
        if (status < 0) return failure(status);
        if (error) std::rethrow_exception(std::exchange(error, nullptr));
        if constexpr (std::is_void_v<value_type>) return {};
        else return *std::move(value);
    }

private:
    static int32_t run(void *ctx) {
        offload &self = *static_cast<offload *>(ctx);
#if defined(__cpp_exceptions)
        try {
            self.call();
        } catch (...) {
            self.error = std::current_exception();
        }
#else
        self.call();
#endif
        return 0;
    }

    void call() {
        if constexpr (std::is_void_v<value_type>) {
            function();
            value.emplace();
        } else value.emplace(function());
    }

    Function function;
    std::optional<stored> value;
    std::exception_ptr error;
};

} // namespace detail

/**
 * `co_await blocking([&] { return slow(); })`: calls it on a thread of the runtime, at most 32 of
 * them. Its value comes as a result, and what it throws is thrown here. A cancellation comes in
 * time only until a thread took it; after that the wait goes on until it returns.
 */
template <class Function> auto blocking(Function function) {
    return detail::operate<void>(detail::offload<Function>(std::move(function)));
}

/** The addresses that a name has; free with the object. */
using address_list =
    std::unique_ptr<addrinfo, decltype([](addrinfo *list) { freeaddrinfo(list); })>;

namespace detail {

struct lookup {
    const char *host, *service;
    addrinfo hints{};
    addrinfo *list = nullptr;

    int32_t operator()(spargio_op *op) { return spargio_resolve(host, service, &hints, &list, op); }
    result<address_list> finish(int32_t status) {
        if (status < 0) return failure(status);
        return address_list(list);
    }
};

} // namespace detail

/**
 * `co_await resolve("example.org", "443")`: getaddrinfo(3) for stream sockets. Errors of names are
 * in resolve_category(). The texts must live until then.
 */
inline auto resolve(const char *host, const char *service) {
    detail::lookup what{host, service};
    what.hints.ai_socktype = SOCK_STREAM;
    return detail::operate<void>(what);
}

/** Signals of the process, watched as long as it lives. Make it before what they should end. */
class signal_set {
public:
    static result<signal_set> open(std::initializer_list<int32_t> signals) {
        signal_set made;
        int32_t status = spargio_signal_open(signals.begin(), static_cast<uint32_t>(signals.size()),
                                             &made.handle_);
        if (status != SPARGIO_OK) return failure(status);
        return made;
    }

    signal_set(signal_set &&other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
    signal_set &operator=(signal_set &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~signal_set() {
        if (handle_ != 0) spargio_signal_close(handle_);
    }

    /** `co_await`: the number of the next signal that came. */
    auto next() {
        return detail::operate<int>(
            [handle = handle_](spargio_op *op) { return spargio_signal_next(handle, op); });
    }

private:
    signal_set() = default;

    spargio_signal handle_ = 0;
};

} // namespace spargio

#endif
