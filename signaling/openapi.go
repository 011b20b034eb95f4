package signaling

import (
	_ "embed"
	"net/http"
)

// openAPI describes the API (OpenAPI 3.1). It is written by hand, and held
// against routes and answers by tests.
//
//go:embed openapi.yaml
var openAPI []byte

// openapi lets pages of other origins read the document: those that show it.
func (s *Server) openapi(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "application/yaml") // RFC 9512
	h.Set("Cache-Control", "no-cache")
	h.Set("Access-Control-Allow-Origin", "*")
	_, err := w.Write(openAPI)
	return err
}
