package segment

import "strings"

// shape is how a column's values are stored.
type shape int

// The shapes of columns. Every column but seq and tag may be null.
const (
	shapeText  shape = iota + 1 // BYTE_ARRAY with a dictionary
	shapeSmall                  // INT32 with a dictionary
	shapeInt                    // INT64, DELTA_BINARY_PACKED
	shapeBlob                   // BYTE_ARRAY, PLAIN: texts that hardly ever repeat
	shapeFixed                  // FIXED_LEN_BYTE_ARRAY, PLAIN
)

// meaning is the logical type that other readers see.
type meaning int

// The logical types.
const (
	meansNumber meaning = iota + 1
	meansText
	meansJSON
	meansTime
	meansUUID
	meansBytes
)

// columnID is a column's place in the file.
type columnID int

// The columns, in the file's order.
const (
	colSeq columnID = iota
	colTag
	colLeaf
	colKind
	colSource
	colCluster
	colReceived
	colStageAt
	colRequestReceived
	colAuditID
	colAuditIDText
	colLevel
	colStage
	colVerb
	colSaidVerb
	colRequestURI
	colUsername
	colUID
	colGroups
	colExtra
	colAsUsername
	colAsUID
	colAsGroups
	colAsExtra
	colSourceIPs
	colUserAgent
	colAPIGroup
	colAPIVersion
	colResource
	colSubresource
	colNamespace
	colName
	colObjectUID
	colResourceVersion
	colResourceVersionText
	colCode
	colStatus
	colReason
	colMessage
	colDecision
	colDecisionReason
	colAnnotations
	colRequestObject
	colResponseObject
	colRedactions
	colMore
	columnCount
)

// columnSpec is one column of every segment.
type columnSpec struct {
	name  string
	shape shape
	means meaning
	size  int // of shapeFixed
	// required columns have a value in every row.
	required bool
	// field is the path of the field that the column alone decides; "" when there is none.
	field string
}

// The annotations that have a column of their own.
const (
	keyDecision       = "authorization.k8s.io/decision"
	keyDecisionReason = "authorization.k8s.io/reason"
)

// columnSpecs is the schema: flat columns in snake case, named after the fields of
// audit.k8s.io/v1. Lists and maps are JSON text, because one dictionary entry for a
// whole list of groups is a fraction of a nested column, and quicker to test.
func columnSpecs() [columnCount]columnSpec {
	text := func(name, field string) columnSpec {
		return columnSpec{name: name, shape: shapeText, means: meansText, field: field}
	}
	object := func(name string) columnSpec {
		return columnSpec{name: name, shape: shapeText, means: meansJSON}
	}
	blob := func(name string) columnSpec {
		return columnSpec{name: name, shape: shapeBlob, means: meansJSON}
	}
	instant := func(name string) columnSpec {
		return columnSpec{name: name, shape: shapeInt, means: meansTime}
	}
	return [columnCount]columnSpec{
		// seq is the event's number in the log.
		colSeq: {name: "seq", shape: shapeInt, means: meansNumber, required: true},
		// tag is the beginning of the leaf hash, and leaf the whole of it in pruned rows.
		colTag:  {name: "tag", shape: shapeFixed, means: meansBytes, size: tagSize, required: true},
		colLeaf: {name: "leaf", shape: shapeFixed, means: meansBytes, size: 32},

		colKind:            text("kind", "kind"),
		colSource:          text("source", "source"),
		colCluster:         text("cluster", "cluster"),
		colReceived:        instant("received"),
		colStageAt:         instant("stage_at"),
		colRequestReceived: instant("request_received"),
		// An audit id that is no UUID in lower case stands in audit_id_text.
		colAuditID:     {name: "audit_id", shape: shapeFixed, means: meansUUID, size: 16},
		colAuditIDText: text("audit_id_text", ""),
		colLevel:       text("level", "level"),
		colStage:       text("stage", "stage"),
		colVerb:        text("verb", "verb"),
		colSaidVerb:    text("said_verb", "saidVerb"),
		colRequestURI:  text("request_uri", "requestURI"),

		colUsername: text("user_username", "user.username"),
		colUID:      text("user_uid", "user.uid"),
		colGroups:   object("user_groups"),
		colExtra:    object("user_extra"),
		// impersonated_username is null when the user acted as nobody else, and "" when only
		// another part of the impersonated user is known.
		colAsUsername: text("impersonated_username", "impersonatedUser.username"),
		colAsUID:      text("impersonated_uid", "impersonatedUser.uid"),
		colAsGroups:   object("impersonated_groups"),
		colAsExtra:    object("impersonated_extra"),

		colSourceIPs: object("source_ips"),
		colUserAgent: text("user_agent", "userAgent"),

		colAPIGroup:    text("object_api_group", "objectRef.apiGroup"),
		colAPIVersion:  text("object_api_version", "objectRef.apiVersion"),
		colResource:    text("object_resource", "objectRef.resource"),
		colSubresource: text("object_subresource", "objectRef.subresource"),
		colNamespace:   text("object_namespace", "objectRef.namespace"),
		colName:        text("object_name", "objectRef.name"),
		colObjectUID:   text("object_uid", "objectRef.uid"),
		// A resource version that is no plain number stands in object_resource_version_text.
		colResourceVersion:     {name: "object_resource_version", shape: shapeInt, means: meansNumber},
		colResourceVersionText: text("object_resource_version_text", ""),

		colCode:    {name: "code", shape: shapeSmall, means: meansNumber, field: "responseStatus.code"},
		colStatus:  text("status", "responseStatus.status"),
		colReason:  text("reason", "responseStatus.reason"),
		colMessage: text("message", "responseStatus.message"),

		// annotations has those that are not decision or decision_reason.
		colDecision:       text("decision", "annotations."+keyDecision),
		colDecisionReason: text("decision_reason", "annotations."+keyDecisionReason),
		colAnnotations:    object("annotations"),

		colRequestObject:  blob("request_object"),
		colResponseObject: blob("response_object"),
		colRedactions:     blob("redactions"),
		colMore:           blob("more"),
	}
}

// Columns lists the fields that a column decides exactly, besides the keys of
// annotations, user.extra and impersonatedUser.extra, all of which are decided too.
func Columns() []string {
	list := make([]string, 0, int(columnCount)+8)
	for _, spec := range columnSpecs() {
		if spec.field != "" && !strings.HasPrefix(spec.field, inAnnotations) {
			list = append(list, spec.field)
		}
	}
	return append(list, "auditID", "objectRef.resourceVersion", "user.groups", "impersonatedUser.groups",
		"actor.username", "actor.groups", "sourceIPs", "succeeded")
}

// Decides reports whether Find and Values take the field: all of audit.FixedFields and
// the keys of annotations and extras, but nothing within a body.
func Decides(field string) bool {
	_, err := resolve(field)
	return err == nil
}
