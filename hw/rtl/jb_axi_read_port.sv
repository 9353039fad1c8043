// One AXI3 read port shared by several clients. A client's transfers carry its number as ID, and beats are handed to the
// client that the ID names, so that the memory may answer different clients in any order. A client asks only for what it can take:
// beats are always accepted.
`default_nettype none

module jb_axi_read_port #(
  parameter int Clients     = 4,
  parameter int Outstanding = 8  // bursts under way at once, at most 255
) (
  input  wire logic                  clk_i,
  input  wire logic                  rst_ni,
  input  wire logic                  halt_i,       // ask for nothing more
  output      logic                  idle_o,       // nothing is under way
  // bursts from the clients
  input  wire logic [Clients-1:0]    burst_valid_i,
  output      logic [Clients-1:0]    burst_ready_o,
  input  wire logic [Clients*32-1:0] burst_address_i,
  input  wire logic [Clients*5-1:0]  burst_beats_i,  // 1..16
  // beats to the clients
  output      logic [Clients-1:0]    data_valid_o,
  output      logic [63:0]           data_o,
  output      logic                  error_o,        // this beat's response was an error, or its ID nobody's
  output      logic                  beat_o,         // a beat arrived
  // AXI3
  output      logic                  arvalid_o,
  input  wire logic                  arready_i,
  output      logic [31:0]           araddr_o,
  output      logic [ 3:0]           arlen_o,
  output      logic [ 5:0]           arid_o,
  input  wire logic                  rvalid_i,
  output      logic                  rready_o,
  input  wire logic [63:0]           rdata_i,
  input  wire logic [ 1:0]           rresp_i,
  input  wire logic                  rlast_i,
  input  wire logic [ 5:0]           rid_i
);
  logic [7:0] outstanding_q;
  logic [Clients-1:0] turn_q;  // one hot: whom to ask first
  logic [Clients-1:0] grant;
  logic [2*Clients-1:0] requests, first;
  logic [31:0] address;
  logic [4:0] beats;
  logic [5:0] client;
  logic accept, retire;

  // Round robin: the lowest request at or above `turn_q`, wrapping around.
  assign requests = {burst_valid_i, burst_valid_i};
  assign first    = requests & ~(requests - {{Clients{1'b0}}, turn_q});
  assign grant    = first[Clients-1:0] | first[2*Clients-1:Clients];

  assign accept   = (!arvalid_o || arready_i) && outstanding_q < 8'(Outstanding) && !halt_i && burst_valid_i != '0;
  assign retire   = rvalid_i && rlast_i;
  assign burst_ready_o = accept ? grant : '0;

  always_comb begin
    address = '0;
    beats   = '0;
    client  = '0;
    for (int unsigned c = 0; c < Clients; c++) begin
      if (grant[c]) begin
        address = address | burst_address_i[32*c+:32];
        beats   = beats | burst_beats_i[5*c+:5];
        client  = client | 6'(c);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      arvalid_o     <= 1'b0;
      outstanding_q <= '0;
      turn_q        <= Clients'(1);
    end else begin
      if (accept) begin
        arvalid_o <= 1'b1;
        // The one after the client that was served.
        for (int unsigned c = 0; c < Clients; c++) turn_q[(c+1)%Clients] <= grant[c];
      end else if (arready_i) begin
        arvalid_o <= 1'b0;
      end
      if (accept && !retire) outstanding_q <= outstanding_q + 8'd1;
      if (!accept && retire) outstanding_q <= outstanding_q - 8'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (accept) begin
      araddr_o <= address;
      arlen_o  <= 4'(beats - 5'd1);
      arid_o   <= client;
    end
  end

  // Beats, one register later.
  assign rready_o = 1'b1;
  assign beat_o   = |data_valid_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      data_valid_o <= '0;
      error_o      <= 1'b0;
    end else begin
      for (int unsigned c = 0; c < Clients; c++) data_valid_o[c] <= rvalid_i && rid_i == 6'(c);
      error_o <= rvalid_i && (rresp_i[1] || rid_i >= 6'(Clients));
    end
  end

  always_ff @(posedge clk_i) begin
    data_o <= rdata_i;
  end

  assign idle_o = outstanding_q == '0 && !arvalid_o && data_valid_o == '0;

  logic unused;
  assign unused = rresp_i[0];
endmodule

`default_nettype wire
