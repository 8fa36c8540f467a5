/*
 * TCP and UDP sockets that own their descriptors.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_NET_HPP
#define SPARGIO_NET_HPP

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <span>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

#include "operation.hpp"

namespace spargio {

/** Memory that an operation writes to: bytes or chars. */
struct mutable_buffer {
    void *data;
    std::size_t size;

    mutable_buffer(void *memory, std::size_t bytes) noexcept : data(memory), size(bytes) {}
    template <class T, std::size_t N>
        requires(sizeof(T) == 1 && !std::is_const_v<T>)
    mutable_buffer(std::span<T, N> bytes) noexcept : data(bytes.data()), size(bytes.size()) {}
    template <class Range>
        requires requires(Range &range) { std::span(range); }
    mutable_buffer(Range &bytes) noexcept : mutable_buffer(std::span(bytes)) {}
};

/** Memory that an operation reads: bytes, chars, text. */
struct const_buffer {
    const void *data;
    std::size_t size;

    const_buffer(const void *memory, std::size_t bytes) noexcept : data(memory), size(bytes) {}
    const_buffer(std::string_view text) noexcept : data(text.data()), size(text.size()) {}
    const_buffer(const char *text) noexcept : const_buffer(std::string_view(text)) {}
    const_buffer(const std::string &text) noexcept : const_buffer(std::string_view(text)) {}
    template <class T, std::size_t N>
        requires(sizeof(T) == 1)
    const_buffer(std::span<T, N> bytes) noexcept : data(bytes.data()), size(bytes.size()) {}
};

namespace detail {

/** What the kernel takes in one operation. */
inline uint32_t length_of(std::size_t size) noexcept {
    constexpr std::size_t most = INT32_MAX & ~4095;
    return static_cast<uint32_t>(size < most ? size : most);
}

/** Owns a descriptor. It may be moved, but must not go away while an operation on it is under way.
 */
class descriptor {
public:
    descriptor() = default;
    explicit descriptor(int fd) noexcept : fd_(fd) {}
    descriptor(descriptor &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    descriptor &operator=(descriptor &&other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }

    explicit operator bool() const noexcept { return fd_ >= 0; }
    int native_handle() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }

    /** `co_await`: closes it and reports the kernel's error. The destructor does so without a
     * report. */
    auto close() {
        return operate<void, ended_by::nothing>(
            [fd = release()](spargio_op *op) { return spargio_close(fd, op); });
    }

private:
    int fd_ = -1;
};

inline result<uint16_t> local_port(int fd) {
    uint16_t port = 0;
    int32_t status = spargio_local_port(fd, &port);
    if (status != SPARGIO_OK) return failure(status);
    return port;
}

} // namespace detail

/** A connection. One task may receive while another one sends. */
class tcp_stream : public detail::descriptor, private detail::referenced<tcp_stream> {
    struct reception;

public:
    using descriptor::descriptor;
    static tcp_stream adopt(int fd) noexcept { return tcp_stream(fd); }

    /** `co_await`: a connection to a numeric address, whose text must live until then. */
    static auto connect(const char *address, uint16_t port) {
        return detail::operate<tcp_stream>(
            [=](spargio_op *op) { return spargio_tcp_connect(address, port, op); });
    }

    /** `co_await`: what has come, at most the buffer; 0 is the end of the stream. */
    auto recv(mutable_buffer into) {
        return detail::operate<std::size_t>(reception(*this, into));
    }

    /** `co_await`: sends; less than all of it only if an error or a cancellation came in between.
     */
    auto send(const_buffer from) {
        return detail::operate<std::size_t>([fd = native_handle(), from](spargio_op *op) {
            return spargio_send(fd, from.data, detail::length_of(from.size), MSG_WAITALL, op);
        });
    }

    /** Sends all of it. */
    task<result<void>> write_all(const_buffer from) {
        const char *at = static_cast<const char *>(from.data);
        while (from.size > 0) {
            result<std::size_t> sent = co_await send({at, from.size});
            if (!sent) co_return failure(sent.error());
            at += *sent;
            from.size -= *sent;
        }
        co_return result<void>();
    }

    /** Receives so many bytes; errc::end_of_stream if there are not so many. */
    task<result<void>> read_exactly(mutable_buffer into) {
        char *at = static_cast<char *>(into.data);
        while (into.size > 0) {
            result<std::size_t> count = co_await recv({at, into.size});
            if (!count) co_return failure(count.error());
            if (*count == 0) co_return failure(errc::end_of_stream);
            at += *count;
            into.size -= *count;
        }
        co_return result<void>();
    }

    /** `co_await`: SHUT_RD, SHUT_WR or SHUT_RDWR of shutdown(2). */
    auto shutdown(int how) {
        return detail::operate<void>(
            [fd = native_handle(), how](spargio_op *op) { return spargio_shutdown(fd, how, op); });
    }

    result<void> set_nodelay(bool on) noexcept {
        int value = on;
        if (setsockopt(native_handle(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof value) == 0)
            return {};
        return failure(SPARGIO_E_ERRNO(errno));
    }

    result<uint16_t> local_port() const { return detail::local_port(native_handle()); }

private:
    friend class detail::reference<tcp_stream>;
    friend class detail::referenced<tcp_stream>;

    /** The stream may be moved meanwhile: the receive goes on. */
    struct reception {
        int fd;
        mutable_buffer into;
        detail::reference<tcp_stream> stream;

        reception(tcp_stream &of, mutable_buffer to) noexcept
            : fd(of.native_handle()), into(to), stream(of) {}

        int32_t operator()(spargio_op *op) noexcept {
            int32_t flags = stream.get()->drained_ ? SPARGIO_RECV_DRAINED : 0;
            stream.follow();
            return spargio_recv(fd, into.data, detail::length_of(into.size), flags, op);
        }

        result<std::size_t> finish(int32_t count) noexcept {
            if (tcp_stream *now = stream.settle())
                now->drained_ = count >= 0 && static_cast<std::size_t>(count) < into.size;
            if (count < 0) return failure(count);
            return static_cast<std::size_t>(count);
        }
    };

    /** The last receive took all that there was: the next one need not try before it waits. */
    bool drained_ = false;
};

/**
 * The connections of a listener, one after the other, however many come at a time: one operation of
 * the kernel's accepts until it is ended, and a task takes all that have queued up in one pass. For
 * one task, which has to be the one that made it; the listener must outlive it.
 */
class incoming {
public:
    explicit incoming(int listener) noexcept : listener_(listener) {}
    incoming(incoming &&other) noexcept
        : listener_(other.listener_), op_(std::exchange(other.op_, 0)) {}
    /** What nobody took is closed when the kernel has ended its operation. */
    ~incoming() {
        if (op_ == 0) return;
        spargio_op_on_complete(op_, [](void *, int32_t, uint32_t) {}, nullptr);
        spargio_op_cancel(op_);
    }

    /** `co_await`: the next connection. After an error the next call begins anew. */
    auto next() noexcept { return taking{*this}; }

private:
    struct taking {
        using awaited_by_task = void;

        incoming &from;
        int32_t value = SPARGIO_E_CANCELLED;

        bool await_ready() noexcept {
            if (stop_requested()) return true;
            if (from.op_ == 0) value = spargio_accept_multishot(from.listener_, &from.op_);
            return from.op_ == 0 || ask(this) != SPARGIO_PENDING;
        }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
            detail::root_of(waiting).wait(ask, this, waiting);
        }
        result<tcp_stream> await_resume() noexcept {
            if (value < 0) return failure(value);
            return tcp_stream(value);
        }
        static int32_t ask(void *self_) noexcept {
            taking &self = *static_cast<taking *>(self_);
            int32_t taken = 0, status = spargio_accept_next(self.from.op_, &taken);
            if (status == SPARGIO_PENDING) return status;
            self.value = status != SPARGIO_READY ? status
                         : taken < 0             ? SPARGIO_E_ERRNO(-taken)
                                                 : taken;
            if (self.value < 0) self.from.op_ = 0;
            return SPARGIO_READY;
        }
    };

    int listener_;
    spargio_op op_ = 0;
};

/** A listening socket. */
class tcp_listener : public detail::descriptor {
public:
    using descriptor::descriptor;

    /** On a numeric address; port 0: any. Does not wait; any thread. */
    static result<tcp_listener> listen(const char *address, uint16_t port,
                                       uint32_t backlog = 1024) {
        int32_t fd = -1;
        int32_t status = spargio_tcp_listen(address, port, backlog, &fd);
        if (status != SPARGIO_OK) return failure(status);
        return tcp_listener(fd);
    }

    /** For servers: all that have come in one pass of the shard, with less work for each. */
    auto incoming() const noexcept { return spargio::incoming(native_handle()); }

    /** `co_await`: one connection; one after the other is one in each pass of the shard. */
    auto accept() {
        return detail::operate<tcp_stream>(
            [fd = native_handle()](spargio_op *op) { return spargio_accept(fd, op); });
    }

    result<uint16_t> local_port() const { return detail::local_port(native_handle()); }
};

/** An IPv4 or IPv6 address with a port. */
class endpoint {
public:
    endpoint() noexcept : storage_{} {}

    /** A numeric address; errc::invalid otherwise. */
    static result<endpoint> make(const char *address, uint16_t port) {
        endpoint made;
        auto &four = reinterpret_cast<sockaddr_in &>(made.storage_);
        auto &six = reinterpret_cast<sockaddr_in6 &>(made.storage_);
        if (inet_pton(AF_INET, address, &four.sin_addr) == 1) {
            four.sin_family = AF_INET;
            four.sin_port = htons(port);
            made.size_ = sizeof four;
        } else if (inet_pton(AF_INET6, address, &six.sin6_addr) == 1) {
            six.sin6_family = AF_INET6;
            six.sin6_port = htons(port);
            made.size_ = sizeof six;
        } else return failure(errc::invalid);
        return made;
    }

    uint16_t port() const noexcept {
        if (storage_.ss_family == AF_INET)
            return ntohs(reinterpret_cast<const sockaddr_in &>(storage_).sin_port);
        return ntohs(reinterpret_cast<const sockaddr_in6 &>(storage_).sin6_port);
    }

    std::string address() const {
        char text[INET6_ADDRSTRLEN] = "";
        if (storage_.ss_family == AF_INET)
            inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in &>(storage_).sin_addr, text,
                      sizeof text);
        else if (storage_.ss_family == AF_INET6)
            inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6 &>(storage_).sin6_addr, text,
                      sizeof text);
        return text;
    }

    sockaddr *data() noexcept { return reinterpret_cast<sockaddr *>(&storage_); }
    socklen_t size() const noexcept { return size_; }
    void resize(socklen_t size) noexcept { size_ = size; }

private:
    sockaddr_storage storage_;
    socklen_t size_ = sizeof(sockaddr_storage);
};

namespace detail {

/** A message of one buffer; where it lies when the operation starts it stays until its end. */
struct datagram {
    int fd;
    void *data;
    std::size_t size;
    endpoint *peer;
    bool sends;
    iovec vector{};
    msghdr message{};

    int32_t operator()(spargio_op *op) noexcept {
        vector = {data, length_of(size)};
        message = {};
        message.msg_iov = &vector;
        message.msg_iovlen = 1;
        if (peer != nullptr) {
            message.msg_name = peer->data();
            message.msg_namelen = sends ? peer->size() : sizeof(sockaddr_storage);
        }
        return sends ? spargio_sendmsg(fd, &message, 0, op) : spargio_recvmsg(fd, &message, 0, op);
    }

    result<std::size_t> finish(int32_t count) const {
        if (count < 0) return failure(count);
        if (!sends && peer != nullptr) peer->resize(message.msg_namelen);
        return static_cast<std::size_t>(count);
    }
};

} // namespace detail

/** A UDP socket. */
class udp_socket : public detail::descriptor {
public:
    using descriptor::descriptor;

    /** On a numeric address; port 0: any. Does not wait; any thread. */
    static result<udp_socket> bind(const char *address, uint16_t port) {
        int32_t fd = -1;
        int32_t status = spargio_udp_bind(address, port, &fd);
        if (status != SPARGIO_OK) return failure(status);
        return udp_socket(fd);
    }

    /** `co_await`: sends one datagram. */
    auto send_to(const_buffer from, endpoint &peer) {
        return operation<std::size_t, detail::datagram>(
            {native_handle(), const_cast<void *>(from.data), from.size, &peer, true});
    }

    /** `co_await`: the next datagram, cut at the buffer's size; `peer` becomes its sender. */
    auto recv_from(mutable_buffer into, endpoint &peer) {
        return operation<std::size_t, detail::datagram>(
            {native_handle(), into.data, into.size, &peer, false});
    }

    result<uint16_t> local_port() const { return detail::local_port(native_handle()); }
};

} // namespace spargio

#endif
