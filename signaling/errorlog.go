package signaling

import (
	"context"
	"log"
	"log/slog"

	"golang.org/x/time/rate"
)

// What net/http says of connections, in lines a second for long, and at once. Each
// connection that is not what it should be, such as one without TLS where there should
// be, is a line, and strangers make as many as they like.
const errorsPerSecond, errorsAtOnce = 0.2, 20

// ErrorLog is for http.Server.ErrorLog: the lines are warnings, as many as are of use.
func ErrorLog(to *slog.Logger) *log.Logger {
	return slog.NewLogLogger(seldom{to.Handler(), rate.NewLimiter(errorsPerSecond, errorsAtOnce)}, slog.LevelWarn)
}

// seldom drops what is too much.
type seldom struct {
	slog.Handler
	limit *rate.Limiter
}

// Handle implements slog.Handler.
func (s seldom) Handle(ctx context.Context, r slog.Record) error {
	if !s.limit.Allow() {
		return nil
	}
	return s.Handler.Handle(ctx, r)
}
