/*
 * Files that own their descriptors. Positions are in the calls, so any number of tasks may use one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SPARGIO_FILE_HPP
#define SPARGIO_FILE_HPP

#include <fcntl.h>

#include "net.hpp"

namespace spargio {

class file : public detail::descriptor {
public:
    using descriptor::descriptor;
    static file adopt(int fd) noexcept { return file(fd); }

    /** `co_await`: opens it with the flags and the mode of open(2). The path must live until then.
     */
    static auto open(const char *path, int flags, uint32_t mode = 0666) {
        return detail::operate<file>(
            [=](spargio_op *op) { return spargio_open(path, flags, mode, op); });
    }

    /** `co_await`: at most the buffer; 0 is the end of the file. */
    auto read_at(mutable_buffer into, uint64_t offset) {
        return detail::operate<std::size_t>([fd = native_handle(), into, offset](spargio_op *op) {
            return spargio_read_at(fd, into.data, detail::length_of(into.size), offset, op);
        });
    }

    /** `co_await`: how much of it was written. */
    auto write_at(const_buffer from, uint64_t offset) {
        return detail::operate<std::size_t>([fd = native_handle(), from, offset](spargio_op *op) {
            return spargio_write_at(fd, from.data, detail::length_of(from.size), offset, op);
        });
    }

    /** Writes all of it. */
    task<result<void>> write_all_at(const_buffer from, uint64_t offset) {
        const char *at = static_cast<const char *>(from.data);
        while (from.size > 0) {
            result<std::size_t> count = co_await write_at({at, from.size}, offset);
            if (!count) co_return failure(count.error());
            at += *count;
            offset += *count;
            from.size -= *count;
        }
        co_return result<void>();
    }

    /** `co_await`: fsync(2), or fdatasync(2). */
    auto sync(bool data_only = false) {
        return detail::operate<void>([fd = native_handle(), data_only](spargio_op *op) {
            return spargio_fsync(fd, data_only, op);
        });
    }

    /** `co_await`: ftruncate(2). Linux 6.9. */
    auto truncate(uint64_t length) {
        return detail::operate<void>([fd = native_handle(), length](spargio_op *op) {
            return spargio_truncate(fd, length, op);
        });
    }
};

} // namespace spargio

#endif
