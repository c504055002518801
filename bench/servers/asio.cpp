/* SPDX-License-Identifier: MIT */
/*
 * asio.cpp: an echo server by Boost.Asio, as its own examples have it: a session is kept alive by
 * its handlers, with a buffer of its own that is read into and written from in turn. The loop is
 * told that it has one thread; 64 KiB per buffer, of which an idle connection has touched little.
 */
#include "common.h"

#include <array>
#include <memory>
#include <utility>

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;
using secure_stream = asio::ssl::stream<tcp::socket>;

namespace
{

using buffer_type = std::array<char, 64 * 1024>;

template <typename Stream> class session : public std::enable_shared_from_this<session<Stream>>
{
  public:
    explicit session(Stream stream) : stream_(std::move(stream)) {}

    void echo()
    {
        auto self = this->shared_from_this();
        stream_.async_read_some(
            asio::buffer(buffer_),
            [this, self](const boost::system::error_code &error, size_t length) {
                if (!error) {
                    answer(length);
                } else {
                    finish();
                }
            });
    }

    void shake()
    {
        auto self = this->shared_from_this();
        stream_.async_handshake(asio::ssl::stream_base::server,
                                [this, self](const boost::system::error_code &error) {
                                    if (!error) {
                                        echo();
                                    }
                                });
    }

  private:
    void answer(size_t length)
    {
        auto self = this->shared_from_this();
        asio::async_write(stream_, asio::buffer(buffer_, length),
                          [this, self](const boost::system::error_code &error, size_t) {
                              if (!error) {
                                  echo();
                              }
                          });
    }

    void finish()
    {
        finish_stream(stream_);
    }

    void finish_stream(tcp::socket &) {}

    void finish_stream(secure_stream &stream)
    {
        auto self = this->shared_from_this();
        stream.async_shutdown([self](const boost::system::error_code &) {});
    }

    Stream stream_;
    buffer_type buffer_;
};

void start(tcp::socket socket, asio::ssl::context *context)
{
    socket.set_option(tcp::no_delay(true));
    if (context != nullptr) {
        std::make_shared<session<secure_stream>>(secure_stream(std::move(socket), *context))
            ->shake();
    } else {
        std::make_shared<session<tcp::socket>>(std::move(socket))->echo();
    }
}

void accept(tcp::acceptor &acceptor, asio::ssl::context *context)
{
    acceptor.async_accept(
        [&acceptor, context](const boost::system::error_code &error, tcp::socket socket) {
            if (!error) {
                start(std::move(socket), context);
            }
            accept(acceptor, context);
        });
}

} // namespace

int main(int, char **argv)
{
    settings set;

    read_settings(&set, argv);
    asio::io_context loop(1);
    asio::ssl::context context(asio::ssl::context::tls_server);
    if (set.certificate != nullptr) {
        context.use_certificate_chain_file(set.certificate);
        context.use_private_key_file(set.key, asio::ssl::context::pem);
    }
    tcp::acceptor acceptor(loop);
    acceptor.open(tcp::v4());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(
        tcp::endpoint(asio::ip::address_v4::loopback(), static_cast<unsigned short>(set.port)));
    acceptor.listen(BACKLOG);
    announce(acceptor.local_endpoint().port());
    accept(acceptor, set.certificate != nullptr ? &context : nullptr);
    loop.run();
}
