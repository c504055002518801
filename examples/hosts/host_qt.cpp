/* SPDX-License-Identifier: MIT */
/*
 * host_qt.cpp: a window of Qt 5 or 6 that downloads over a loop which Qt's event loop runs.
 *
 *     host_qt                                 the user types an address
 *     host_qt --stay 127.0.0.1:8080/a.iso     it begins with this one
 *     host_qt --modal 127.0.0.1:8080/a.iso    a modal dialog runs meanwhile
 *
 * All about the network is in download.c, all about the loop in portico_qt.cpp. What the user does
 * comes by Qt's signals, what the network does by the listener's callbacks, all of it on this one
 * thread: so neither needs a lock, and each may call the other.
 */
#include "download.h"
#include "portico_qt.h"
#include "settings.h"

#include <QApplication>
#include <QGridLayout>
#include <QLabel>
#include <QLineEdit>
#include <QMessageBox>
#include <QPlainTextEdit>
#include <QProgressBar>
#include <QPushButton>

#include <cstdio>
#include <cstdlib>

/* ---- The window ---- */

class Window : public QWidget
{
  public:
    Window(pco_loop *loop, const settings &told);
    void begin();

  private:
    void beginOrCancel();
    void openBox();
    void progressed(uint64_t received, int64_t length);
    void ended(const download_end *end);

    pco_loop *loop;
    settings told;
    download *current = nullptr; // none is under way
    uint64_t received = 0;
    QMessageBox *box = nullptr; // that of --modal, while it is open
    QLineEdit address;
    QPushButton button{"Download"};
    QProgressBar bar;
    QLabel line{"An address, such as localhost:8080/page"};
    QPlainTextEdit answer;
};

Window::Window(pco_loop *hosting, const settings &read) : loop(hosting), told(read)
{
    QGridLayout *grid = new QGridLayout(this);

    grid->addWidget(&address, 0, 0);
    grid->addWidget(&button, 0, 1);
    grid->addWidget(&bar, 1, 0, 1, 2);
    grid->addWidget(&line, 2, 0, 1, 2);
    grid->addWidget(&answer, 3, 0, 1, 2);
    address.setText(told.address);
    bar.setRange(0, 1000);
    answer.setReadOnly(true);
    setWindowTitle("Portico in Qt");
    resize(480, 320);
    connect(&address, &QLineEdit::returnPressed, this, [this] { beginOrCancel(); });
    connect(&button, &QPushButton::clicked, this, [this] { beginOrCancel(); });
}

void Window::beginOrCancel()
{
    if (current == nullptr) {
        begin();
    } else {
        download_cancel(current);
    }
}

/* Inside of exec() an event loop of its own runs, which serves the network like everything else. */
void Window::openBox()
{
    QMessageBox modal(QMessageBox::Information, "Modal", "The download goes on.", QMessageBox::Ok,
                      this);

    box = &modal;
    QTimer::singleShot(0, &modal, [] { report("modal"); });
    modal.exec();
    box = nullptr;
}

/* ---- The download ---- */

void Window::begin()
{
    download_listener listener{};
    pco_error error;

    listener.context = this;
    listener.progressed = [](uint64_t so_far, int64_t length, void *self) {
        static_cast<Window *>(self)->progressed(so_far, length);
    };
    listener.ended = [](const download_end *end, void *self) {
        static_cast<Window *>(self)->ended(end);
    };
    received = 0;
    bar.setValue(0);
    answer.clear();
    current = download_begin(loop, address.text().toUtf8().constData(), &listener, &error);
    if (current == nullptr) {
        line.setText(error.message);
        report_done(error.message, false);
        return;
    }
    button.setText("Cancel");
    line.setText("asking");
    if (told.modal) {
        QTimer::singleShot(0, this, [this] { openBox(); });
    }
}

void Window::progressed(uint64_t so_far, int64_t length)
{
    line.setText(QLocale().formattedDataSize(static_cast<qint64>(so_far)));
    if (length > 0) {
        bar.setValue(static_cast<int>(so_far * 1000 / static_cast<uint64_t>(length)));
    }
    report_half(received, so_far, length);
    received = so_far;
}

void Window::ended(const download_end *end)
{
    char text[DOWNLOAD_LINE_SIZE];

    current = nullptr;
    download_describe(end, text);
    line.setText(text);
    answer.setPlainText(end->start);
    button.setText("Download");
    report_done(text, box != nullptr);
    if (*told.address != '\0' && !told.stay) {
        if (box != nullptr) {
            box->accept();
        }
        close();
    }
}

/* ---- The program ---- */

int main(int argc, char **argv)
{
    settings told;
    pco_loop *loop = nullptr;
    pco_error error;

    settings_read(&told, argv);
    QApplication application(argc, argv);
    if (pco_loop_new(nullptr, &loop, &error) != 0) {
        std::fprintf(stderr, "host_qt: %s\n", error.message);
        return EXIT_FAILURE;
    }
    Window window(loop, told);
    PorticoHost *host = new PorticoHost(loop);

    window.show();
    report("ready");
    if (*told.address != '\0') {
        window.begin();
    }
    int code = application.exec();

    delete host;
    pco_loop_free(loop); // a download that is under way ends, and says so in the window
    return code;
}
