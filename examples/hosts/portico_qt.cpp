/* SPDX-License-Identifier: MIT */
#include "portico_qt.h"

#include <algorithm>
#include <cmath>

PorticoHost::PorticoHost(pco_loop *hosted, QObject *parent)
    : QObject(parent), loop(hosted),
      notifier(pco_loop_get_descriptor(hosted), QSocketNotifier::Read, this), timer(this)
{
    timer.setSingleShot(true);
    timer.setTimerType(Qt::PreciseTimer);
    connect(&timer, &QTimer::timeout, this, [this] { turn(); });
    connect(&notifier, &QSocketNotifier::activated, this, [this] { turn(); });
    timer.start(0); // the first turn
}

void PorticoHost::turn()
{
    if (pco_loop_is_running(loop)) {
        return; // a callback of the loop's has opened a modal dialog, which has brought us here
    }
    notifier.setEnabled(false); // or such a dialog's event loop would be brought here all the time
    pco_loop_run_once(loop, 0);
    notifier.setEnabled(true);

    // In milliseconds, which a QTimer counts in an int; never early.
    timer.start(static_cast<int>(std::ceil(std::min(pco_loop_next_timeout(loop), 1e6) * 1e3)));
}
