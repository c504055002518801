// SPDX-License-Identifier: MIT
/*
 * asio.cpp: an echo client by Boost.Asio, as in its examples: a session with a socket and a buffer
 * of its own. The loop is told that it has one thread.
 */
#include "common.h"

#include <array>
#include <memory>
#include <vector>

#include <boost/asio.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace
{

asio::io_context loop(1);

void finish_message()
{
    if (message_is_back()) {
        loop.stop();
    }
}

class session
{
  public:
    session() : socket_(loop) {}

    void open()
    {
        received_ = 0;
        socket_.open(tcp::v4());
        socket_.set_option(tcp::no_delay(true));
        tcp::endpoint server(asio::ip::address_v4::loopback(),
                             static_cast<unsigned short>(set.port));
        socket_.async_connect(server, [this](const error_code &error) {
            if (error) {
                give_up("cannot connect");
            }
            if (set.connect) {
                send();
            } else {
                finish_message();
            }
        });
    }

    void send()
    {
        asio::async_write(socket_, asio::buffer(payload, set.size),
                          [this](const error_code &error, size_t) {
                              if (error) {
                                  give_up("cannot send");
                              }
                              receive();
                          });
    }

  private:
    void receive()
    {
        socket_.async_read_some(asio::buffer(buffer_),
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
            socket_.close();
        }
        finish_message();
        if (begin_message()) {
            set.connect ? open() : send();
        }
    }

    tcp::socket socket_;
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
    for (size_t i = 0; i < set.connections; i++) {
        sessions.push_back(std::make_unique<session>());
    }
    const actions client = {open_at, send_at, run};
    return drive(&client);
}
