//go:build !linux

package log

import "errors"

func limitFiles(uint64) error { return errors.ErrUnsupported }
