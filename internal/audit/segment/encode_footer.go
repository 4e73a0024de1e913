package segment

import (
	"fmt"
	"maps"
	"slices"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// What every file has.
const (
	magic         = "PAR1"
	formatVersion = 2
	createdBy     = "bulwark"
)

// encode gives the footer's bytes, the same ones for the same footer. Its columns are
// those of the schema.
func (f *footer) encode() ([]byte, error) {
	specs := columnSpecs()
	file := format.FileMetaData{
		Version: formatVersion, NumRows: int64(f.rows), CreatedBy: createdBy,
		Schema: []format.SchemaElement{{Name: "event", NumChildren: thrift.New(count32(len(specs)))}},
	}
	for i := range specs {
		file.Schema = append(file.Schema, element(&specs[i]))
		file.ColumnOrders = append(file.ColumnOrders, format.ColumnOrder{Value: &format.TypeDefinedOrder{}})
	}
	for n := range f.groups {
		g := &f.groups[n]
		rg := format.RowGroup{NumRows: int64(g.rows), FileOffset: g.columns[0].start(), Ordinal: ordinal(n)}
		for i := range g.columns {
			rg.Columns = append(rg.Columns, format.ColumnChunk{MetaData: g.columns[i].metadata(&specs[i])})
			rg.TotalByteSize += g.columns[i].unpacked
			rg.TotalCompressedSize += g.columns[i].size
		}
		file.RowGroups = append(file.RowGroups, rg)
	}
	for _, key := range slices.Sorted(maps.Keys(f.notes)) {
		file.KeyValueMetadata = append(file.KeyValueMetadata, format.KeyValue{Key: key, Value: f.notes[key]})
	}
	raw, err := thrift.Marshal(new(thrift.CompactProtocol), &file)
	if err != nil {
		return nil, fmt.Errorf("encode the footer of a segment: %w", err)
	}
	return raw, nil
}

func (c *chunkFooter) metadata(spec *columnSpec) format.ColumnMetaData {
	m := format.ColumnMetaData{
		Type: physical(spec), PathInSchema: []string{spec.name}, NumValues: c.values,
		Encoding:   []format.Encoding{format.Plain},
		Codec:      format.Zstd,
		Statistics: format.Statistics{NullCount: c.nulls, MinValue: c.min, MaxValue: c.max},

		TotalUncompressedSize: c.unpacked, TotalCompressedSize: c.size,
		DataPageOffset: c.data, DictionaryPageOffset: c.dict,
	}
	if c.codec == int64(format.Uncompressed) {
		m.Codec = format.Uncompressed
	}
	if !spec.required {
		m.Encoding = append(m.Encoding, format.RLE)
	}
	if c.dict > 0 {
		m.Encoding = append(m.Encoding, format.RLEDictionary)
	} else if spec.shape == shapeInt && c.nulls < c.values {
		m.Encoding = append(m.Encoding, format.DeltaBinaryPacked)
	}
	return m
}

func physical(spec *columnSpec) format.Type {
	switch spec.shape {
	case shapeSmall:
		return format.Int32
	case shapeInt:
		return format.Int64
	case shapeFixed:
		return format.FixedLenByteArray
	case shapeText, shapeBlob:
	}
	return format.ByteArray
}

// element is a column's line in the schema.
func element(spec *columnSpec) format.SchemaElement {
	e := format.SchemaElement{
		Name: spec.name, Type: thrift.New(physical(spec)), RepetitionType: thrift.New(format.Optional),
	}
	if spec.required {
		e.RepetitionType = thrift.New(format.Required)
	}
	if spec.size > 0 {
		e.TypeLength = thrift.New(count32(spec.size))
	}
	switch spec.means {
	case meansText:
		e.ConvertedType = thrift.New(deprecated.UTF8)
		e.LogicalType.Value = &format.StringType{}
	case meansJSON:
		e.ConvertedType = thrift.New(deprecated.Json)
		e.LogicalType.Value = &format.JsonType{}
	case meansTime:
		e.ConvertedType = thrift.New(deprecated.TimestampMicros)
		e.LogicalType.Value = &format.TimestampType{IsAdjustedToUTC: true, Unit: format.TimeUnit{Value: &format.MicroSeconds{}}}
	case meansUUID:
		e.LogicalType.Value = &format.UUIDType{}
	case meansNumber, meansBytes: // the physical type says it
	}
	return e
}
