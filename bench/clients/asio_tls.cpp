// SPDX-License-Identifier: MIT
/*
 * asio_tls.cpp: the echo client of asio.cpp with TLS: a session with a stream and a buffer of its
 * own; a stream serves one connection.
 */
#include "tls.h"

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace
{

asio::io_context loop(1);
std::unique_ptr<asio::ssl::context> context;

void finish_message()
{
    if (message_is_back()) {
        loop.stop();
    }
}

class session
{
  public:
    void open()
    {
        received_ = 0;
        stream_.emplace(loop, *context);
        prepare_client(stream_->native_handle(), session_);
        tcp::socket &socket = stream_->next_layer();
        socket.open(tcp::v4());
        socket.set_option(tcp::no_delay(true));
        tcp::endpoint server(asio::ip::address_v4::loopback(),
                             static_cast<unsigned short>(set.port));
        socket.async_connect(server, [this](const error_code &error) {
            if (error) {
                give_up("cannot connect");
            }
            shake_hands();
        });
    }

    void send()
    {
        asio::async_write(*stream_, asio::buffer(payload, set.size),
                          [this](const error_code &error, size_t) {
                              if (error) {
                                  give_up("cannot send");
                              }
                              receive();
                          });
    }

  private:
    void shake_hands()
    {
        stream_->async_handshake(asio::ssl::stream_base::client, [this](const error_code &error) {
            if (error) {
                give_up("the handshake has failed");
            }
            if (set.connect) {
                send();
            } else {
                finish_message();
            }
        });
    }

    void receive()
    {
        stream_->async_read_some(asio::buffer(buffer_),
                                 [this](const error_code &error, size_t length) {
                                     if (error) {
                                         give_up("the server has ended a connection");
                                     }
                                     take(length);
                                 });
    }

    void take(size_t length)
    {
        received_ += length;
        if (received_ < set.size) {
            receive();
            return;
        }
        received_ = 0;
        if (set.connect) {
            keep_session(stream_->native_handle(), &session_);
            stream_->async_shutdown([this](const error_code &) { end(); });
            return;
        }
        finish_message();
        if (begin_message()) {
            send();
        }
    }

    void end()
    {
        stream_->next_layer().close();
        finish_message();
        if (begin_message()) {
            // Not inside a callback of the stream that is replaced.
            asio::post(loop, [this] { open(); });
        }
    }

    std::optional<asio::ssl::stream<tcp::socket>> stream_;
    SSL_SESSION *session_ = nullptr;
    std::array<char, 64 * 1024> buffer_;
    size_t received_ = 0;
};

std::vector<std::unique_ptr<session>> sessions;

void run()
{
    loop.run();
    loop.restart();
}

void open_at(size_t index)
{
    sessions[index]->open();
}

void send_at(size_t index)
{
    sessions[index]->send();
}

} // namespace

int main(int, char **argv)
{
    read_settings(argv);
    if (set.authority == nullptr) {
        give_up("needs --tls AUTHORITY");
    }
    context = std::make_unique<asio::ssl::context>(make_client_ctx());
    for (size_t i = 0; i < set.connections; i++) {
        sessions.push_back(std::make_unique<session>());
    }
    const actions client = {open_at, send_at, run};
    return drive(&client);
}
