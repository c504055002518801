/* SPDX-License-Identifier: MIT */
/*
 * portico_qt.h: a loop in Qt's event loop. To be taken as it is; Qt 5.15 or 6, C++11. It needs no
 * moc.
 *
 *     PorticoHost *host = new PorticoHost(loop, parent);
 *     ...
 *     delete host;        // not inside of a callback of the loop's: host->deleteLater() there
 *     pco_loop_free(loop);
 *
 * POSIX. On Windows, where a loop has no descriptor, portico_win32.h goes with Qt's event loop.
 */
#ifndef PORTICO_QT_H
#define PORTICO_QT_H

#include <portico.h>

#include <QObject>
#include <QSocketNotifier>
#include <QTimer>

/* Runs the loop's turns on the thread that made this object, which is the loop's from then on. */
class PorticoHost : public QObject
{
  public:
    explicit PorticoHost(pco_loop *loop, QObject *parent = nullptr);

  private:
    void turn();

    pco_loop *loop;
    QSocketNotifier notifier;
    QTimer timer;
};

#endif
