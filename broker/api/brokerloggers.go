package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
)

// The levels of a broker's loggers are configs of a resource of its own (KIP-412). There
// is one logger; its level holds until the broker stops.

const rootLogger = "root"

// loggerLevels are Kafka's names of levels and what they are to our logger.
var loggerLevels = []struct {
	name  string
	level zapcore.Level
}{
	{"DEBUG", zapcore.DebugLevel},
	{"TRACE", zapcore.DebugLevel},
	{"INFO", zapcore.InfoLevel},
	{"WARN", zapcore.WarnLevel},
	{"ERROR", zapcore.ErrorLevel},
	{"FATAL", zapcore.FatalLevel},
}

// describeLoggers tells the level of each logger.
func describeLoggers(level zapcore.Level) []config.Entry {
	e := config.Entry{Name: rootLogger, Source: config.DynamicBrokerLogger, Type: config.String, Doc: "What is logged: messages of this level, and of the ones above."}
	for i := range loggerLevels {
		if loggerLevels[i].level == level {
			e.Value = &loggerLevels[i].name
			break
		}
	}
	return []config.Entry{e}
}

// alterLogger sets the level of this broker's logger.
func (s *Server) alterLogger(name string, ops []config.Op, validateOnly bool) error {
	if err := s.checkLogger(name); err != nil {
		return err
	}
	level, err := loggerLevel(s.LogLevel.Level(), ops)
	if err != nil || validateOnly {
		return err
	}
	s.Log.Info("the level of the log is set", zap.Stringer("level", level))
	s.LogLevel.SetLevel(level)
	return nil
}

// checkLogger refuses the name of a resource that is not this broker.
func (s *Server) checkLogger(name string) error {
	id, err := s.brokerResource(name)
	if err == nil && id == cluster.DefaultConfigs {
		return refuse(kerr.InvalidRequest, "Loggers are those of one broker: it has to be named by its id.")
	}
	return err
}

// loggerLevel makes a level of the one that is set and changes to it.
func loggerLevel(level zapcore.Level, ops []config.Op) (zapcore.Level, error) {
	for _, op := range ops {
		switch {
		case op.Name != rootLogger:
			return level, refuse(kerr.InvalidConfig, fmt.Sprintf("Logger %s does not exist; there is only %s.", op.Name, rootLogger))
		case op.Type != config.Set || op.Value == nil:
			return level, refuse(kerr.InvalidRequest, "The level of "+rootLogger+" can be set, not removed.")
		}
		found := false
		for _, l := range loggerLevels {
			if l.name == *op.Value {
				level, found = l.level, true
			}
		}
		if !found {
			return level, refuse(kerr.InvalidConfig, fmt.Sprintf("Level %s of logger %s is none of DEBUG, TRACE, INFO, WARN, ERROR, FATAL.", *op.Value, rootLogger))
		}
	}
	return level, nil
}
