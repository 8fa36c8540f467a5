/*
 * Results: expected<T, E> (that of the standard library from C++23 on), errors as std::error_code,
 * and exceptions for those who want them (unwrap).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_RESULT_HPP
#define SPARGIO_RESULT_HPP

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <netdb.h>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <version>

#include "../spargio.h"

#if defined(__cpp_lib_expected) && __cpp_lib_expected >= 202202L
#include <expected>
#endif

namespace spargio {

/** Errors of the library itself. Those of the kernel are in std::system_category(). */
enum class errc : int32_t {
    invalid = SPARGIO_E_INVALID,           /**< an argument or option is out of range */
    closed = SPARGIO_E_CLOSED,             /**< the runtime, the handle or the channel is closed */
    no_memory = SPARGIO_E_NOMEM,           /**< out of memory */
    overloaded = SPARGIO_E_OVERLOADED,     /**< the queue is full; nothing was accepted */
    timeout = SPARGIO_E_TIMEOUT,           /**< the time limit passed */
    cancelled = SPARGIO_E_CANCELLED,       /**< the task was cancelled */
    not_on_shard = SPARGIO_E_NOT_ON_SHARD, /**< allowed only inside a task */
    on_shard = SPARGIO_E_ON_SHARD,         /**< would block a shard: not allowed inside a task */
    invalid_shard = SPARGIO_E_INVALID_SHARD, /**< no shard has this number */
    unsupported = SPARGIO_E_UNSUPPORTED, /**< the kernel or the backend lacks something needed */
    forked = SPARGIO_E_FORKED,           /**< the runtime belongs to the parent of this process */
    end_of_stream = -100,                /**< the peer ended the stream before all bytes came */
};

namespace detail {

class error_category final : public std::error_category {
public:
    const char *name() const noexcept override { return "spargio"; }
    std::string message(int code) const override {
        if (code == static_cast<int>(errc::end_of_stream)) return "the stream ended too early";
        return spargio_strerror(code);
    }
    std::error_condition default_error_condition(int code) const noexcept override {
        switch (static_cast<errc>(code)) {
        case errc::invalid: return std::errc::invalid_argument;
        case errc::no_memory: return std::errc::not_enough_memory;
        case errc::overloaded: return std::errc::resource_unavailable_try_again;
        case errc::timeout: return std::errc::timed_out;
        case errc::cancelled: return std::errc::operation_canceled;
        case errc::unsupported: return std::errc::operation_not_supported;
        default: return {code, *this};
        }
    }
};

class name_category final : public std::error_category {
public:
    const char *name() const noexcept override { return "getaddrinfo"; }
    std::string message(int code) const override { return gai_strerror(code); }
};

} // namespace detail

/** Of the EAI_* numbers of getaddrinfo(3). */
inline const std::error_category &resolve_category() noexcept {
    static const detail::name_category only;
    return only;
}

inline const std::error_category &category() noexcept {
    static const detail::error_category only;
    return only;
}

inline std::error_code make_error_code(errc code) noexcept {
    return {static_cast<int>(code), category()};
}

/** A negative result of the C interface as an error. */
inline std::error_code error_of(int32_t status) noexcept {
    int number = SPARGIO_ERRNO_OF(status);
    if (int name = SPARGIO_EAI_OF(-number)) return {name, resolve_category()};
    if (number != 0) return {number, std::system_category()};
    return {status, category()};
}

#if defined(__cpp_lib_expected) && __cpp_lib_expected >= 202202L
using std::expected;
using std::unexpected;
#else

/** What an expected is made from if it holds no value. */
template <class E> class unexpected {
public:
    explicit unexpected(E error) : error_(std::move(error)) {}
    const E &error() const & noexcept { return error_; }
    E &&error() && noexcept { return std::move(error_); }

private:
    E error_;
};

/** Stands in for std::expected before C++23: that part of it which results need. */
template <class T, class E> class expected {
    using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

public:
    using value_type = T;
    using error_type = E;

    expected() : held_(std::in_place_index<0>) {}
    template <class U = stored>
        requires(!std::is_void_v<T> && std::is_constructible_v<stored, U> &&
                 !std::is_same_v<std::remove_cvref_t<U>, expected>)
    expected(U &&value) : held_(std::in_place_index<0>, std::forward<U>(value)) {}
    template <class G>
    expected(unexpected<G> error) : held_(std::in_place_index<1>, std::move(error).error()) {}

    bool has_value() const noexcept { return held_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    const E &error() const noexcept { return *std::get_if<1>(&held_); }
    std::add_lvalue_reference_t<T> operator*() & noexcept { return at(*this); }
    std::add_lvalue_reference_t<const T> operator*() const & noexcept { return at(*this); }
    std::add_rvalue_reference_t<T> operator*() && noexcept {
        if constexpr (!std::is_void_v<T>) return std::move(at(*this));
    }
    stored *operator->() noexcept { return std::get_if<0>(&held_); }
    const stored *operator->() const noexcept { return std::get_if<0>(&held_); }

    template <class U> stored value_or(U &&other) && {
        return has_value() ? std::move(*operator->()) : static_cast<stored>(std::forward<U>(other));
    }

private:
    template <class Self> static decltype(auto) at(Self &self) noexcept {
        if constexpr (!std::is_void_v<T>) return *std::get_if<0>(&self.held_);
    }

    std::variant<stored, E> held_;
};

#endif

/** A value, or why there is none. */
template <class T> using result = expected<T, std::error_code>;

inline unexpected<std::error_code> failure(std::error_code error) {
    return unexpected<std::error_code>(error);
}
inline unexpected<std::error_code> failure(errc code) { return failure(make_error_code(code)); }
inline unexpected<std::error_code> failure(int32_t status) { return failure(error_of(status)); }

/** The task was cancelled: its scope ends without calling that an error. */
class cancelled_error : public std::system_error {
public:
    using std::system_error::system_error;
};

/** Throws cancelled_error or std::system_error; ends the program if it is built without exceptions.
 */
[[noreturn]] inline void raise(std::error_code error) {
#if defined(__cpp_exceptions)
    if (error == std::errc::operation_canceled) throw cancelled_error(error);
    throw std::system_error(error);
#else
    (void)error;
    std::abort();
#endif
}

/** The value of a result; its error is thrown: `auto n = unwrap(co_await stream.recv(buffer));` */
template <class T> T unwrap(result<T> &&from) {
    if (!from) raise(from.error());
    if constexpr (!std::is_void_v<T>) return *std::move(from);
}

namespace detail {

template <class T> struct is_result : std::false_type {};
template <class T> struct is_result<result<T>> : std::true_type {};

/** result<T>, or T if that is a result already. */
template <class T> struct flat {
    using type = result<T>;
};
template <class T> struct flat<result<T>> {
    using type = result<T>;
};
template <class T> using flat_t = typename flat<T>::type;

} // namespace detail

} // namespace spargio

template <> struct std::is_error_code_enum<spargio::errc> : std::true_type {};

#endif
